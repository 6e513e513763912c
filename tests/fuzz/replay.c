/* Runs a fuzz target over the files named on its command line, without libFuzzer: the corpus as a test that any compiler
 * builds. A finding ends the program. */
#include "protocol/buffer.h"
#include "tests/fuzz/fuzz.h"

static bool replay(const char *path)
{
    FILE *file = fopen(path, "rb");
    if (!file) {
        perror(path);
        return false;
    }
    struct buffer input = { 0 };
    size_t got;
    do {
        got = fread(buffer_reserve(&input, 65536), 1, 65536, file);
        input.size += got;
    } while (got > 0);
    fclose(file);

    uint8_t *exact = malloc(input.size ? input.size : 1); /* as libFuzzer does: nothing behind it */
    MUST(exact);
    if (input.size > 0)
        memcpy(exact, input.data, input.size);
    LLVMFuzzerTestOneInput(exact, input.size);
    free(exact);
    buffer_free(&input);
    return true;
}

int main(int argc, char **argv)
{
    int replayed = 0;
    for (int i = 1; i < argc; i++)
        replayed += replay(argv[i]);
    printf("%s: %d inputs\n", argv[0], replayed);
    return replayed > 0 && replayed == argc - 1 ? EXIT_SUCCESS : EXIT_FAILURE;
}
