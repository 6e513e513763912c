/* The arithmetic of SCRAM-SHA-256, for both of its sides. */
#ifndef PROTOCOL_SCRAM_CRYPTO_H
#define PROTOCOL_SCRAM_CRYPTO_H

#include "protocol/scram.h"

void scram_hmac(unsigned char out[SCRAM_KEY_SIZE], const void *key, size_t key_size, struct span text);
void scram_hash(unsigned char out[SCRAM_KEY_SIZE], const unsigned char in[SCRAM_KEY_SIZE]);
void scram_xor(unsigned char to[SCRAM_KEY_SIZE], const unsigned char with[SCRAM_KEY_SIZE]);
/* In a time that does not depend on where they differ. */
bool scram_same(const unsigned char a[SCRAM_KEY_SIZE], const unsigned char b[SCRAM_KEY_SIZE]);
/* A decimal number from 1 to 999999999. */
bool scram_read_iterations(struct span text, uint32_t *out);

#endif
