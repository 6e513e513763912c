/* The URLs of sinks.
 *
 * An input is a URL. What must hold, for each kind of sink that has one:
 * - it is either refused in words of our own, or taken apart into parts that are all there: a host, and a port unless it is a socket;
 * - one that has a password has it where url_find_password() says;
 * - printed without variables it shows neither the password nor, of a webhook, the query, and says so. */
#include <string.h>

#include "config/secret.h"
#include "config/url.h"
#include "tests/fuzz/fuzz.h"

static void check_parts(const struct sink_url *u)
{
    const char *const texts[] = { u->scheme, u->user, u->password, u->host, u->path, u->query };

    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        MUST(texts[i] != NULL);
    MUST(*u->host != '\0');
    MUST((u->port != 0) == (strcmp(u->scheme, "unix") != 0));
}

static char *print(const char *text, bool hides_query, bool *hides)
{
    char *printed = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&printed, &size);

    *hides = secret_print_url(text, hides_query, &(struct variables){ NULL }, out);
    fclose(out);
    return printed;
}

static void check_printed(const char *text, const struct sink_url *u, enum sink_kind kind)
{
    bool hides_query = kind == SINK_WEBHOOK, hides;
    size_t start = 0, size = 0, query_size = hides_query ? strlen(u->query) : 0;
    bool has_password = url_find_password(text, &start, &size);
    char *printed = print(text, hides_query, &hides);

    MUST(has_password == (*u->password != '\0'));
    MUST(hides == (has_password || query_size > 0));
    /* Quotes around it, and three stars for each secret; neither \ nor $ needs an escape but the dollar sign. */
    size_t want = strlen(text) + 2 - size - query_size + (has_password ? 3 : 0) + (query_size > 0 ? 3 : 0);
    for (const char *p = text; *p != '\0'; p++) {
        bool is_secret = (p >= text + start && p < text + start + size) || p >= text + strlen(text) - query_size;
        want += *p == '$' && !is_secret;
    }
    MUST(strlen(printed) == want);
    free(printed);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = strndup((const char *)data, size);

    for (enum sink_kind kind = SINK_WEBHOOK; kind <= SINK_KAFKA; kind++) {
        struct memory memory = { NULL };
        struct sink_url parts;
        const char *wrong = url_parse(text, kind, &parts, &memory);
        if (wrong == NULL) {
            check_parts(&parts);
            check_printed(text, &parts, kind);
        }
        memory_free(&memory);
    }
    free(text);
    return 0;
}
