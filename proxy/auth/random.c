#include "proxy/auth/random.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/random.h>

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

static void make_mock_key(void)
{
    fill(NULL, mock_key, sizeof mock_key);
}

struct span auth_mock_key(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, make_mock_key);
    return span_make((const char *)mock_key, sizeof mock_key);
}
