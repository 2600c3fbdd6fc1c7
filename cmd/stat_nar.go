package cmd

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"

	"castar/export"
	"castar/store"
)

// jsonNAR is how Nix knows a root: by its NAR.
type jsonNAR struct {
	Bytes  uint64 `json:"bytes"`
	Size   uint64 `json:"size"`   // the old name of bytes
	SHA256 string `json:"sha256"` // 64 hexadecimal digits
	Nix32  string `json:"nix32"`  // the same in Nix's base 32
	SRI    string `json:"sri"`    // the same as sha256-<base64>
}

// narOf returns the size and hash of the NAR of n, and shows how far it is.
func (e *env) narOf(ctx context.Context, st *store.Store, n store.Node) (*jsonNAR, error) {
	p := &export.Progress{}
	defer e.showExport(ctx, "stat", p, st, n)()
	sum, size, err := export.NARHash(ctx, st, n, export.ArchiveOptions{Progress: p})
	return &jsonNAR{size, size, hex.EncodeToString(sum[:]), nix32(sum), "sha256-" + base64.StdEncoding.EncodeToString(sum[:])}, err
}

// nix32 returns a hash in Nix's base 32: digits of five bits, from the last bits of the hash to the first.
func nix32(sum [sha256.Size]byte) string {
	const digits = "0123456789abcdfghijklmnpqrsvwxyz"
	const length = (8*sha256.Size + 4) / 5
	text := make([]byte, length)
	for i := range length {
		bit := 5 * (length - 1 - i)
		word := uint(sum[bit/8])
		if bit/8+1 < len(sum) {
			word |= uint(sum[bit/8+1]) << 8
		}
		text[i] = digits[word>>(bit%8)&31]
	}
	return string(text)
}
