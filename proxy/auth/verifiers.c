#include "proxy/auth/verifiers.h"

#include <stdlib.h>
#include <string.h>

#include "protocol/memory.h"
#include "protocol/scram_crypto.h"

/* Last asked first. */
struct kept_verifier {
    struct kept_verifier *next;
    unsigned char password[SCRAM_KEY_SIZE]; /* its HMAC under the salt: enough to see that it is another one now */
    struct scram_verifier verifier;
    size_t user_size;
    char user[];
};

static void kept_free(struct kept_verifier *k)
{
    explicit_bzero(k, sizeof *k);
    free(k);
}

static bool is_of(const struct kept_verifier *k, struct span user)
{
    return k->user_size == user.size && memcmp(k->user, user.data, user.size) == 0;
}

/* Takes the user's out of the list; NULL: there is none. */
static struct kept_verifier *take(struct verifiers *all, struct span user)
{
    struct kept_verifier **link = &all->newest;
    while (*link != NULL && !is_of(*link, user))
        link = &(*link)->next;
    struct kept_verifier *k = *link;
    if (k == NULL)
        return NULL;
    *link = k->next;
    all->count--;
    return k;
}

static void put_in_front(struct verifiers *all, struct kept_verifier *k)
{
    k->next = all->newest;
    all->newest = k;
    all->count++;
}

static void drop_oldest(struct verifiers *all)
{
    struct kept_verifier **link = &all->newest;
    while ((*link)->next != NULL)
        link = &(*link)->next;
    kept_free(*link);
    *link = NULL;
    all->count--;
}

static struct kept_verifier *kept_new(struct span user)
{
    struct kept_verifier *k = or_abort(calloc(1, sizeof *k + user.size));
    k->user_size = user.size;
    memcpy(k->user, user.data, user.size);
    return k;
}

static bool is_good(const struct kept_verifier *k, const struct scram_verifier *v, const unsigned char *password)
{
    return k->verifier.iterations == v->iterations && k->verifier.salt_size == v->salt_size &&
           memcmp(k->verifier.salt, v->salt, v->salt_size) == 0 && scram_same(k->password, password);
}

void verifiers_make(struct verifiers *all, struct span user, struct span password, struct scram_verifier *v)
{
    unsigned char digest[SCRAM_KEY_SIZE];
    scram_hmac(digest, v->salt, v->salt_size, password);
    struct kept_verifier *k = take(all, user);
    if (k == NULL)
        k = kept_new(user);
    if (!is_good(k, v, digest)) {
        scram_verifier_make(&k->verifier, password, span_make((const char *)v->salt, v->salt_size), v->iterations);
        memcpy(k->password, digest, sizeof k->password);
        all->made++;
    }
    *v = k->verifier;
    put_in_front(all, k);
    if (all->count > VERIFIERS_MOST)
        drop_oldest(all);
}

void verifiers_forget(struct verifiers *all)
{
    while (all->newest != NULL) {
        struct kept_verifier *k = all->newest;
        all->newest = k->next;
        kept_free(k);
    }
    all->count = 0;
}
