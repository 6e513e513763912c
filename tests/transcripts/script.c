/* Reads transcript files. The config blocks at their head go through the proxy's own reader of config files, so that a transcript says
 * `route "web" { mode = atomic }` as a user would; the database block that every config needs goes without saying. */
#include "tests/transcripts/script.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static const char usual_config[] = "database \"*\" { upstream = \"host=127.0.0.1\" }\n"
                                   "sink \"log\" { type = log }\n";

static const struct {
    const char *word;
    enum step_kind kind;
} keywords[] = {
    { "client lost", STEP_CLIENT_LOST },
    { "server lost", STEP_SERVER_LOST },
    { "shut down", STEP_SHUT_DOWN },
    { "no server", STEP_NO_SERVER },
    { "server back", STEP_SERVER_BACK },
    { "client<", STEP_CLIENT_GETS },
    { "server<", STEP_SERVER_SENDS },
    { "server>", STEP_SERVER_GETS },
    { "client", STEP_CLIENT_SENDS },
    { "time", STEP_TIME },
    { "finish", STEP_FINISH },
    { "cancelled", STEP_CANCELLED },
    { "closed", STEP_CLOSED },
    { "event", STEP_EVENT },
    { "request", STEP_REQUEST },
    { "commit_failed", STEP_COMMIT_FAILED },
    { "table", STEP_TABLE },
    { "notified", STEP_NOTIFIED },
    { "rows", STEP_ROWS },
    { "asked", STEP_ASKED },
    { "outcome", STEP_OUTCOME },
    { "commit_unknown", STEP_COMMIT_UNKNOWN },
};

_Noreturn static void stop(const struct script *s, unsigned line, const char *why)
{
    fprintf(stderr, "%s:%u: %s\n", s->file, line, why);
    exit(2);
}

/* Behind `word` and the blanks after it; NULL: the line does not begin with it. */
static const char *behind(const char *line, const char *word)
{
    size_t size = strlen(word);
    if (strncmp(line, word, size) != 0 || (line[size] != '\0' && !isspace((unsigned char)line[size])))
        return NULL;
    line += size;
    return line + strspn(line, " \t");
}

static bool add_step(struct script *s, unsigned number, const char *line)
{
    for (size_t i = 0; i < sizeof keywords / sizeof *keywords; i++) {
        const char *rest = behind(line, keywords[i].word);
        if (!rest)
            continue;
        s->steps = realloc(s->steps, (s->count + 1) * sizeof *s->steps);
        if (!s->steps)
            abort();
        s->steps[s->count++] = (struct step){ keywords[i].kind, number, strdup(rest) };
        return true;
    }
    return false;
}

static void continue_step(struct script *s, const char *line)
{
    struct step *last = &s->steps[s->count - 1];
    size_t size = strlen(last->text) + strlen(line) + 2;
    char *text = malloc(size);
    snprintf(text, size, "%s %s", last->text, line);
    free(last->text);
    last->text = text;
}

static void read_line(struct script *s, unsigned number, char *line, struct buffer *config)
{
    size_t size = strlen(line);
    while (size > 0 && isspace((unsigned char)line[size - 1]))
        line[--size] = '\0';
    char *text = line + strspn(line, " \t");
    if (*text == '#') {
        if (!s->name)
            s->name = strdup(text + 1 + strspn(text + 1, " "));
    } else if (*text == '\0') {
        return;
    } else if (behind(text, "startup") && text == line) {
        s->startup = strdup(behind(text, "startup"));
    } else if (text > line && s->count > 0) {
        continue_step(s, text);
    } else if (!add_step(s, number, text)) {
        if (s->count > 0)
            stop(s, number, "no such line in a transcript");
        buffer_append_text(config, line);
        buffer_append_text(config, "\n");
    }
}

static void read_config(struct script *s, const struct buffer *text)
{
    char path[] = "/tmp/transcript-config-XXXXXX";
    int fd = mkstemp(path);
    if (fd < 0 || write(fd, text->data, text->size) != (ssize_t)text->size)
        stop(s, 1, "cannot write its config");
    close(fd);
    s->config = config_read(path, stderr);
    unlink(path);
    if (!s->config)
        stop(s, 1, "its config blocks have errors");
}

void script_read(struct script *s, const char *file)
{
    *s = (struct script){ .file = file };
    FILE *in = fopen(file, "r");
    if (!in)
        stop(s, 0, "cannot be opened");
    struct buffer config = { 0 };
    buffer_append_text(&config, usual_config);
    char *line = NULL;
    size_t capacity = 0;
    for (unsigned number = 1; getline(&line, &capacity, in) >= 0; number++)
        read_line(s, number, line, &config);
    free(line);
    fclose(in);
    if (!s->name)
        stop(s, 1, "the first line has to name the rule: # R7: …");
    read_config(s, &config);
    buffer_free(&config);
}

void script_free(struct script *s)
{
    for (size_t i = 0; i < s->count; i++)
        free(s->steps[i].text);
    free(s->steps);
    free(s->name);
    free(s->startup);
    config_release(s->config);
}

const char *script_startup(const struct script *s, const char *key)
{
    static char value[200];
    size_t size = strlen(key);
    for (const char *at = s->startup; at && *at; at += strcspn(at, " \t"), at += strspn(at, " \t")) {
        if (strncmp(at, key, size) == 0 && at[size] == '=') {
            snprintf(value, sizeof value, "%.*s", (int)strcspn(at + size + 1, " \t"), at + size + 1);
            return value;
        }
    }
    return NULL;
}
