/* Each is looked at as `run` would, and let go again. */
#include "proxy/check_files.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "protocol/memory.h"
#include "proxy/net/tls_context.h"

static bool is_usable(struct tls_context *x_take)
{
    bool is = x_take != NULL;
    tls_context_release(x_take);
    return is;
}

static bool check_client_tls(const struct config *c, FILE *errors)
{
    char error[TLS_ERROR_SIZE];
    if (!config_offers_tls(c) || is_usable(tls_context_for_server(&c->client_tls, error)))
        return true;
    fprintf(errors, "%s:%d: client_tls: %s\n", c->file, c->client_tls.line, error);
    return false;
}

static bool check_upstream(const struct config *c, const struct database *d, FILE *errors)
{
    char error[TLS_ERROR_SIZE];
    if (d->tls.mode == TLS_DISABLE || is_usable(tls_context_for_client(&d->tls, error)))
        return true;
    fprintf(errors, "%s:%d: upstream: %s\n", c->file, d->tls.line, error);
    return false;
}

/* Who may write there is not asked: it may be somebody else who runs it. */
static bool check_log(const struct config *c, FILE *errors)
{
    const char *slash = strrchr(c->log.file, '/');
    if (slash == NULL)
        return true;
    struct stat found;
    char *directory = or_abort(strndup(c->log.file, (size_t)(slash + 1 - c->log.file)));
    bool is_there = stat(directory, &found) == 0 || (errno != ENOENT && errno != ENOTDIR);
    if (!is_there)
        fprintf(errors, "%s:%d: file: there is no directory %s\n", c->file, c->log.line, directory);
    free(directory);
    return is_there;
}

bool check_files(const struct config *c, FILE *errors)
{
    bool all = check_log(c, errors);
    all = check_client_tls(c, errors) && all;
    for (size_t i = 0; i < c->database_count; i++)
        all = check_upstream(c, &c->databases[i], errors) && all;
    return all;
}
