/* UUIDv7 (RFC 9562): ids that sort by the time they were made. */
#ifndef PROXY_OPS_UUID_H
#define PROXY_OPS_UUID_H

#include <stdint.h>

enum { UUID_SIZE = 16, UUID_TEXT_SIZE = 37 /* with a NUL */ };

/* A fresh id for `now_us` (wall clock, µs since 1970). On one thread each is greater than the one before, also within a millisecond and when
 * the clock steps back. */
void uuid_make(unsigned char id[UUID_SIZE], uint64_t now_us);
/* "0192f0c1-7a2b-7c3d-8e4f-5a6b7c8d9e0f" */
void uuid_format(const unsigned char id[UUID_SIZE], char text[UUID_TEXT_SIZE]);

#endif
