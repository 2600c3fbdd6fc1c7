//go:build !race

package rpc

const underRace = false
