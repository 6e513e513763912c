/* Lines, and the file they go to.
 *
 *     log_write ──▶ the thread's buffer ── log_flush ──▶ one write() under one lock ──▶ file or standard output
 *
 * The descriptor never changes once it is open: another file is put in its place with dup2(), so that no thread can
 * write to a number that has been closed. A line that cannot be written is lost rather than held: the log must not be what
 * stops the traffic. How many were lost is told in the next line that can be written. */
#include "proxy/ops/log.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "proxy/ops/json.h"
#include "proxy/ops/timestamp.h"
#include "proxy/ops/uuid.h"

enum { FLUSH_BYTES = 64 << 10, KEEP_BYTES = 256 << 10 };

atomic_int log_least_level = LOG_INFO;

static atomic_int format = LOG_JSON;
static atomic_int payloads = PAYLOADS_PREVIEW;
static int descriptor = -1; /* set before there are threads */

static pthread_mutex_t write_lock = PTHREAD_MUTEX_INITIALIZER;
static uint64_t lines_lost; /* under the lock */

static _Thread_local struct buffer lines;

/* --- the file ------------------------------------------------------------------------------------ */

/* The descriptor of what `file` names; -1: it cannot be opened. */
static int open_file(const char *file)
{
    if (*file == '\0')
        return fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 0);
    return open(file, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0640);
}

/* Takes `opened`. */
static bool put_in_place(int opened)
{
    if (descriptor < 0) {
        descriptor = opened;
        return true;
    }
    bool is_placed = dup3(opened, descriptor, O_CLOEXEC) >= 0;
    close(opened);
    return is_placed;
}

bool log_open(const struct config *c)
{
    int opened = open_file(c->log.file);

    if (opened < 0 || !put_in_place(opened))
        return false;
    atomic_store(&log_least_level, c->log.level);
    atomic_store(&format, c->log.format);
    atomic_store(&payloads, c->log.payloads);
    return true;
}

enum log_payloads log_payloads(void)
{
    return (enum log_payloads)atomic_load_explicit(&payloads, memory_order_relaxed);
}

static bool write_all(struct span s)
{
    while (s.size > 0) {
        ssize_t n = write(descriptor >= 0 ? descriptor : STDOUT_FILENO, s.data, s.size);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return false;
        s = span_make(s.data + n, s.size - (size_t)n);
    }
    return true;
}

static uint64_t count_lines(struct span s)
{
    uint64_t count = 0;

    for (size_t i = 0; i < s.size; i++)
        count += s.data[i] == '\n';
    return count;
}

static void append_line(struct buffer *b, enum log_level level, uint64_t now_us, const struct log_field *fields);

static void tell_lost(void)
{
    struct buffer line = { 0 };

    append_line(&line, LOG_ERROR, 0,
                (const struct log_field[]){
                    log_text("msg", "log_lines_lost"), log_number("lines", lines_lost), { .kind = LOG_FIELD_END } });
    if (write_all(buffer_span(&line)))
        lines_lost = 0;
    buffer_free(&line);
}

void log_flush(void)
{
    if (lines.size == 0)
        return;
    pthread_mutex_lock(&write_lock);
    if (lines_lost > 0)
        tell_lost();
    if (!write_all(buffer_span(&lines)))
        lines_lost += count_lines(buffer_span(&lines));
    pthread_mutex_unlock(&write_lock);

    buffer_clear(&lines);
    if (lines.capacity > KEEP_BYTES)
        buffer_free(&lines);
}

void log_end_thread(void)
{
    log_flush();
    buffer_free(&lines);
}

/* --- a line -------------------------------------------------------------------------------------- */

static uint64_t wall_clock_us(void)
{
    struct timespec now;

    clock_gettime(CLOCK_REALTIME, &now);
    return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

static const char *level_name(enum log_level level)
{
    switch (level) {
    case LOG_DEBUG:
        return "debug";
    case LOG_INFO:
        return "info";
    case LOG_WARN:
        return "warn";
    case LOG_ERROR:
        return "error";
    }
    abort();
}

/* Values other than text are the same in both formats. */
static void append_plain_value(struct buffer *b, const struct log_field *f)
{
    char text[UUID_TEXT_SIZE];

    switch (f->kind) {
    case LOG_FIELD_NUMBER:
        number_append(b, f->number, 1);
        return;
    case LOG_FIELD_MS:
        milliseconds_append(b, f->number);
        return;
    case LOG_FIELD_BOOL:
        buffer_append_text(b, f->number != 0 ? "true" : "false");
        return;
    case LOG_FIELD_ID:
        uuid_format(f->id, text);
        buffer_append(b, text, UUID_TEXT_SIZE - 1);
        return;
    case LOG_FIELD_TEXT:
    case LOG_FIELD_END:
        break;
    }
    abort();
}

static void append_json_field(struct buffer *b, const struct log_field *f)
{
    char *at = buffer_reserve(b, f->name.size + 4);

    memcpy(at, ",\"", 2);
    memcpy(at + 2, f->name.data, f->name.size);
    memcpy(at + 2 + f->name.size, "\":", 2);
    b->size += f->name.size + 4;
    if (f->kind == LOG_FIELD_TEXT) {
        json_append_string(b, f->text);
        return;
    }
    if (f->kind == LOG_FIELD_ID)
        buffer_append_u8(b, '"');
    append_plain_value(b, f);
    if (f->kind == LOG_FIELD_ID)
        buffer_append_u8(b, '"');
}

static void append_json_line(struct buffer *b, enum log_level level, uint64_t now_us, const struct log_field *fields)
{
    buffer_append_text(b, "{\"ts\":\"");
    timestamp_append(b, now_us);
    buffer_append_text(b, "\",\"level\":\"");
    buffer_append_text(b, level_name(level));
    buffer_append_text(b, "\"");
    for (const struct log_field *f = fields; f->kind != LOG_FIELD_END; f++)
        append_json_field(b, f);
    buffer_append_text(b, "}\n");
}

static bool needs_quotes(struct span s)
{
    for (size_t i = 0; i < s.size; i++)
        if (s.data[i] <= ' ' || s.data[i] == 0x7f || strchr("\"\\=", s.data[i]) != NULL)
            return true;
    return s.size == 0;
}

static void append_text_field(struct buffer *b, const struct log_field *f)
{
    buffer_append_u8(b, ' ');
    buffer_append_span(b, f->name);
    buffer_append_u8(b, '=');
    if (f->kind != LOG_FIELD_TEXT)
        append_plain_value(b, f);
    else if (needs_quotes(f->text))
        json_append_string(b, f->text);
    else
        buffer_append_span(b, f->text);
}

/* "2026-11-22T16:04:05.123456Z info  event_held           id=… channel=…" */
static void append_text_line(struct buffer *b, enum log_level level, uint64_t now_us, const struct log_field *fields)
{
    timestamp_append(b, now_us);
    int width = fields[1].kind == LOG_FIELD_END ? 0 : 20;
    buffer_format(b, " %-5s %-*.*s", level_name(level), width, (int)fields->text.size, fields->text.data);
    for (const struct log_field *f = fields + 1; f->kind != LOG_FIELD_END; f++)
        append_text_field(b, f);
    buffer_append_text(b, "\n");
}

static void append_line(struct buffer *b, enum log_level level, uint64_t now_us, const struct log_field *fields)
{
    if (now_us == 0)
        now_us = wall_clock_us();
    if (atomic_load_explicit(&format, memory_order_relaxed) == LOG_JSON)
        append_json_line(b, level, now_us, fields);
    else
        append_text_line(b, level, now_us, fields);
}

void log_write(enum log_level level, uint64_t now_us, const struct log_field *fields)
{
    if (!log_is_on(level))
        return;
    append_line(&lines, level, now_us, fields);
    if (lines.size >= FLUSH_BYTES)
        log_flush();
}
