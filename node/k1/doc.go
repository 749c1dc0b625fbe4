// Package k1 holds the chain's secp256k1 keys and signatures: their text forms, deterministic canonical signing and
// recovery of the signer. It owns no file and no socket, never prints a private key, and knows nothing of blocks.
// Read key.go first, then sign.go.
//
// Formats (fc: libraries/libfc/src/crypto): legacy `EOS...` and WIF `5...`, modern `PUB_K1_...`, `PVT_K1_...` and
// `SIG_K1_...`; all base58 with a checksum.
package k1
