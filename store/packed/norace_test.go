//go:build !race

package packed

const underRace = false
