/* The users file.
 *
 * An input is a file. What must hold:
 * - it is either accepted without a word or refused with at least one error, each a line that names the file;
 * - a user whom it names, and nobody else, has a password, which is not empty. */
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "config/users.h"
#include "tests/fuzz/fuzz.h"

static void check_errors(const char *errors, const char *path)
{
    MUST(*errors != '\0');
    for (const char *line = errors; *line != '\0'; line = strchr(line, '\n') + 1)
        MUST(strncmp(line, path, strlen(path)) == 0 && strchr(line, '\n') != NULL);
}

static void check_user(const struct users *users, const char *name)
{
    const char *password = users_password(users, name);
    MUST(password == NULL || *password != '\0');
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char path[32], *errors = NULL;
    size_t errors_size = 0;
    int fd = memfd_create("users", MFD_CLOEXEC);
    MUST(fd >= 0 && write(fd, data, size) == (ssize_t)size);
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);

    FILE *out = open_memstream(&errors, &errors_size);
    struct users *users = users_read(path, out);
    fclose(out);
    close(fd);
    if (users == NULL) {
        check_errors(errors, path);
    } else {
        MUST(errors_size == 0);
        check_user(users, "app");
        check_user(users, "");
        MUST(users_password(users, "\x01nobody") == NULL || memmem(data, size, "\x01nobody", 7) != NULL);
        users_free(users);
    }
    free(errors);
    return 0;
}
