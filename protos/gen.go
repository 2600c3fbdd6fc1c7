// Package protos holds the schema of castore and the code generated from it. The .proto files are the contract with other
// programs. There is no logic here.
package protos

//go:generate go run ./gen
