//go:build race

package packed

const underRace = true
