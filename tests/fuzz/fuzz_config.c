/* The config file.
 *
 * An input is a file. What must hold:
 * - it is either accepted without a word or refused with at least one error, each a line that names the file;
 * - what config_print() prints of an accepted one is accepted, and prints the same; unless a secret was hidden: then it is refused;
 * - every name that a request can have finds rules, or none, and never ends the process. */
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "config/config.h"
#include "tests/fuzz/fuzz.h"

struct text {
    char *data;
    size_t size;
};

static struct config *read_bytes(const void *data, size_t size, struct text *errors)
{
    char path[32];
    int fd = memfd_create("config", MFD_CLOEXEC);
    MUST(fd >= 0 && write(fd, data, size) == (ssize_t)size);
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);

    FILE *out = open_memstream(&errors->data, &errors->size);
    struct config *config = config_read(path, out);
    fclose(out);
    close(fd);
    return config;
}

static void check_errors(const struct text *errors)
{
    static const char prefix[] = "/proc/self/fd/";

    MUST(errors->size > 0 && errors->data[errors->size - 1] == '\n');
    for (const char *line = errors->data; *line != '\0'; line = strchr(line, '\n') + 1)
        MUST(strncmp(line, prefix, strlen(prefix)) == 0);
    for (size_t i = 0; i < errors->size; i++)
        MUST(errors->data[i] == '\n' || (unsigned char)errors->data[i] >= 0x20);
}

static struct text print(const struct config *config)
{
    struct text text;
    FILE *out = open_memstream(&text.data, &text.size);

    config_print(config, out);
    fclose(out);
    return text;
}

static void check_printed(const struct config *config)
{
    struct text errors, once = print(config);
    bool hides = strstr(once.data, "    # ***: a secret, not printed\n") != NULL;
    struct config *again = read_bytes(once.data, once.size, &errors);
    MUST((again == NULL) == hides);

    if (again != NULL) {
        struct text twice = print(again);
        MUST(strcmp(once.data, twice.data) == 0);
        config_release(again);
        free(twice.data);
    }
    free(errors.data);
    free(once.data);
}

static void check_lookups(const struct config *config, const char *name, size_t size)
{
    struct request_attributes attributes = { .label = name, .application = name, .database = name, .user = name };

    config_route(config, &attributes);
    attributes.label = NULL;
    config_route(config, &attributes);
    MUST(config_channel(config, name, size) != NULL);
    config_outbox(config, name);
    for (size_t i = 0; i < config->database_count; i++)
        MUST(config_database(config, config->databases[i].name) == &config->databases[i]);
    for (size_t i = 0; i < config->channel_count; i++)
        for (const char *const *sink = config->channels[i].sinks; *sink != NULL; sink++)
            MUST(config_sink(config, *sink) != NULL);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct text errors;
    setenv("SET", "a \"quoted\" ${VALUE} \\ {\nline", 1);
    unsetenv("UNSET");
    struct config *config = read_bytes(data, size, &errors);

    if (config == NULL) {
        check_errors(&errors);
    } else {
        MUST(errors.size == 0);
        check_printed(config);
        char *name = strndup((const char *)data, size);
        check_lookups(config, name, strlen(name));
        free(name);
        config_release(config);
    }
    free(errors.data);
    return 0;
}
