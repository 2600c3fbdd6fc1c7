package packed

import "castar/store"

// Landmark returns what the store in the folder dir is known by: its config file, which has a random ID. The error is
// fs.ErrNotExist if dir is no store.
func Landmark(dir string) (store.Landmark, error) { return store.LandmarkOf(dir, configName) }
