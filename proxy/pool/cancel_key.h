/* The table of keys, as the carrier of requests sees it. */
#ifndef PROXY_POOL_CANCEL_KEY_H
#define PROXY_POOL_CANCEL_KEY_H

#include "proxy/pool/cancel.h"

/* The requests of the thread on which the holder of this minted key lives; NULL: no such key. From any thread. */
struct cancel_requests *cancel_key_home(uint32_t process_id, struct span secret);
/* On that thread, where the holder cannot go away meanwhile: asks it for its aim. NULL: it runs on nothing, or is gone. */
struct cancel_guard *cancel_key_aim(uint32_t process_id, struct span secret, struct cancel_target *out);

#endif
