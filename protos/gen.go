// Package protos holds the schema of castore and the code that is generated from it. The files ending in .proto are the
// contract with other programs; there is no logic here.
package protos

//go:generate go run ./gen
