/* A moment, as logs and JSON tell it. */
#ifndef PROXY_OPS_TIMESTAMP_H
#define PROXY_OPS_TIMESTAMP_H

#include "protocol/buffer.h"

/* Appends wall clock µs since 1970 as RFC 3339 in UTC: "2026-11-22T16:04:05.123456Z". */
void timestamp_append(struct buffer *b, uint64_t us);
/* Appends a number, with zeros in front up to `width` digits. */
void number_append(struct buffer *b, uint64_t number, unsigned width);
/* Appends µs as ms with three decimals. */
void milliseconds_append(struct buffer *b, uint64_t us);

#endif
