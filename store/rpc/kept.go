package rpc

import (
	"cmp"
	"os"

	"castar/store"
)

// maxKeptMemory is how many bytes of kept directories are in memory.
const maxKeptMemory = 8 << 20

// keptDirectories are encoded directories, the first in memory and the others in a nameless file. The zero value is empty.
type keptDirectories struct {
	inMemory int // how many bytes of memory they may take; 0 is maxKeptMemory
	at       map[store.Digest]span
	memory   []byte
	file     *os.File
	size     int64 // of all directories
}

// span is where a directory is in the memory and the file, one behind the other.
type span struct {
	start  int64
	length uint32
}

func (k *keptDirectories) get(d store.Digest) (message []byte, ok bool, err error) {
	s, ok := k.at[d]
	if !ok {
		return nil, false, nil
	}
	if end := s.start + int64(s.length); end <= int64(len(k.memory)) {
		return k.memory[s.start:end:end], true, nil
	}
	message = make([]byte, s.length)
	_, err = k.file.ReadAt(message, s.start-int64(len(k.memory)))
	return message, err == nil, err
}

func (k *keptDirectories) put(d store.Digest, message []byte) error {
	if _, ok := k.at[d]; ok {
		return nil
	}
	if k.at == nil {
		k.at = map[store.Digest]span{}
	}
	if k.file == nil && len(k.memory)+len(message) <= cmp.Or(k.inMemory, maxKeptMemory) {
		k.memory = append(k.memory, message...)
	} else if err := k.write(message); err != nil {
		return err
	}
	k.at[d] = span{k.size, uint32(len(message))}
	k.size += int64(len(message))
	return nil
}

// write appends to the file.
func (k *keptDirectories) write(message []byte) (err error) {
	if k.file == nil {
		if k.file, err = nameless(); err != nil {
			return err
		}
	}
	_, err = k.file.WriteAt(message, k.size-int64(len(k.memory)))
	return err
}

// drop forgets all directories and closes the file.
func (k *keptDirectories) drop() (err error) {
	if k.file != nil {
		err = k.file.Close()
	}
	*k = keptDirectories{inMemory: k.inMemory}
	return err
}
