//go:build !unix

package sandbox

import "io/fs"

// ownedByUs is always true where files have no numeric owner; the profile directory protects the cache there.
func ownedByUs(fs.FileInfo) bool { return true }
