#include "proxy/auth/random.h"

#include <errno.h>
#include <openssl/hmac.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/random.h>

#include "protocol/memory.h"

static unsigned char mock_key[32];

/* Interrupted, it is asked again; anything else would mean a kernel without getrandom(). */
static void fill(void *context, void *to, size_t size)
{
    (void)context;
    for (size_t done = 0; done < size;) {
        ssize_t got = getrandom((char *)to + done, size - done, 0);
        if (got < 0 && errno != EINTR)
            abort();
        done += got > 0 ? (size_t)got : 0;
    }
}

const struct auth_random auth_random_kernel = { fill, NULL };

/* Made once, by whoever is first; `from` is that thread's own. */
static pthread_once_t mock_key_once = PTHREAD_ONCE_INIT;
static _Thread_local struct span from;

static void make_mock_key(void)
{
    static const char purpose[] = "pgatomic: salts of users who are not known";
    if (from.size == 0)
        fill(NULL, mock_key, sizeof mock_key);
    else
        or_abort(HMAC(EVP_sha256(), from.data, (int)from.size, (const unsigned char *)purpose, sizeof purpose - 1,
                      mock_key, NULL));
}

struct span auth_mock_key(void)
{
    pthread_once(&mock_key_once, make_mock_key);
    return span_make((const char *)mock_key, sizeof mock_key);
}

void auth_mock_key_derive(struct span secret)
{
    from = secret;
    pthread_once(&mock_key_once, make_mock_key);
    from = (struct span){ 0 };
}
