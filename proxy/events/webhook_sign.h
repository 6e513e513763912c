/* The signature of Standard Webhooks: HMAC-SHA256 over id, timestamp and body, so that a receiver knows who posted, and when. */
#ifndef PROXY_EVENTS_WEBHOOK_SIGN_H
#define PROXY_EVENTS_WEBHOOK_SIGN_H

#include <stdbool.h>

#include "protocol/buffer.h"

/* Appends the key that `secret` stands for: base64, usually behind "whsec_". False: it is none. */
bool webhook_sign_key(const char *secret, struct buffer *key);

/* Appends the value of the header webhook-signature: "v1," and the signature in base64. `id` and `timestamp` as in their headers. */
void webhook_sign(struct buffer *out, struct span key, const char *id, const char *timestamp, struct span body);

#endif
