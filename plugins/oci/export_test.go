package oci

// Unpack is for tests of small limits.
var Unpack = unpack
