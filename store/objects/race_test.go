//go:build race

package objects

const underRace = true
