/* Lines, and the file they go to.
 *
 *     log_write ──▶ the thread's buffer ── log_flush ──▶ one write() under one lock ──▶ file or standard output
 *
 * The descriptor never changes once it is open: another file is put in its place with dup2(), so that no thread can
 * write to a number that has been closed. A line that cannot be written is lost rather than held: the log must not be what
 * stops the traffic. How many were lost is told in the next line that can be written. What a full disk has cut short is ended first,
 * so that this line stands alone.
 *
 * A pipe, a socket or a terminal takes no more when nobody reads it. It is asked for room before each piece, which is as small as the room that
 * poll() tells of in a pipe. Its flags may be shared with other programs, so it is not made non-blocking; a terminal, which tells of any room, is
 * opened anew for that. A reader that is only slow is waited for, a while for each flush; one that has stalled is not waited for again until it
 * has had time to recover. */
#include "proxy/ops/log.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "proxy/clock.h"
#include "proxy/ops/json.h"
#include "proxy/ops/timestamp.h"
#include "proxy/ops/uuid.h"

enum { FLUSH_BYTES = 64 << 10, KEEP_BYTES = 256 << 10, PATIENCE_US = 500 * 1000, RECOVERY_US = 10 * 1000 * 1000 };

atomic_int log_least_level = LOG_INFO;

static atomic_int format = LOG_JSON;
static atomic_int payloads = PAYLOADS_PREVIEW;
static int descriptor = -1; /* set before there are threads */

static pthread_mutex_t write_lock = PTHREAD_MUTEX_INITIALIZER;
/* Under the lock. */
static uint64_t lines_lost;
static bool line_is_cut;    /* what was written last has no end */
static bool has_reader;     /* it is no plain file, but something that somebody has to read */
static uint64_t stalled_us; /* when the reader was last found to have stalled */

static _Thread_local struct buffer lines;

/* --- the file ------------------------------------------------------------------------------------ */

static int open_standard_output(void)
{
    int own = isatty(STDOUT_FILENO) ? open("/proc/self/fd/1", O_WRONLY | O_NONBLOCK | O_CLOEXEC | O_NOCTTY) : -1;
    return own >= 0 ? own : fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 0);
}

/* The descriptor of what `file` names; -1: it cannot be opened. A FIFO that nobody reads yet can be opened only by who could read it himself,
 * or the start would wait for somebody. */
static int open_file(const char *file)
{
    enum { HOW = O_CREAT | O_APPEND | O_CLOEXEC | O_NONBLOCK };
    if (*file == '\0')
        return open_standard_output();
    int fd = open(file, O_WRONLY | HOW, 0640);
    return fd < 0 && errno == ENXIO ? open(file, O_RDWR | HOW, 0640) : fd;
}

static bool is_plain_file(int fd)
{
    struct stat found;
    return fstat(fd, &found) == 0 && S_ISREG(found.st_mode);
}

/* Takes `opened`. */
static bool put_in_place(int opened)
{
    bool is_placed = descriptor < 0 || dup3(opened, descriptor, O_CLOEXEC) >= 0;
    if (descriptor < 0)
        descriptor = opened;
    else
        close(opened);
    if (!is_placed)
        return false;
    has_reader = !is_plain_file(descriptor);
    line_is_cut = false;
    stalled_us = 0;
    return true;
}

static bool use_file(const char *file)
{
    int opened = open_file(file);
    if (opened < 0)
        return false;
    pthread_mutex_lock(&write_lock);
    bool is_placed = put_in_place(opened);
    pthread_mutex_unlock(&write_lock);
    return is_placed;
}

bool log_open(const struct config *c)
{
    if (!use_file(c->log.file))
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

/* --- writing, under the lock ----------------------------------------------------------------------- */

static bool wait_for_room(int fd, int timeout_ms)
{
    struct pollfd room = { .fd = fd, .events = POLLOUT };
    int ready;
    do
        ready = poll(&room, 1, timeout_ms);
    while (ready < 0 && errno == EINTR);
    return ready > 0;
}

static bool reader_has_room(int fd, uint64_t until_us)
{
    uint64_t now_us = clock_now_us();
    bool is_stalled = stalled_us > 0 && now_us - stalled_us < RECOVERY_US;
    uint64_t patience_us = is_stalled || until_us < now_us ? 0 : until_us - now_us;
    if (wait_for_room(fd, (int)(patience_us / 1000)))
        return true;
    stalled_us = clock_now_us();
    return false;
}

/* What can be written at once: whole lines, unless one is too long. */
static size_t piece_size(struct span s)
{
    if (!has_reader || s.size <= PIPE_BUF)
        return s.size;
    const char *end = memrchr(s.data, '\n', PIPE_BUF);
    return end != NULL ? (size_t)(end + 1 - s.data) : PIPE_BUF;
}

/* Returns how much of it was written. */
static size_t write_some(struct span s)
{
    int fd = descriptor >= 0 ? descriptor : STDOUT_FILENO;
    uint64_t until_us = has_reader ? clock_now_us() + PATIENCE_US : 0;
    size_t done = 0;
    while (done < s.size && (!has_reader || reader_has_room(fd, until_us))) {
        ssize_t n = write(fd, s.data + done, piece_size(span_make(s.data + done, s.size - done)));
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            break;
        done += (size_t)n;
    }
    return done;
}

static uint64_t count_lines(struct span s)
{
    uint64_t count = 0;

    for (size_t i = 0; i < s.size; i++)
        count += s.data[i] == '\n';
    return count;
}

/* Returns how many of the lines are not there, or not whole. */
static uint64_t write_lines(struct span s)
{
    if (line_is_cut)
        line_is_cut = write_some(span_of("\n")) == 0;
    size_t done = line_is_cut ? 0 : write_some(s);
    if (done > 0)
        line_is_cut = s.data[done - 1] != '\n';
    return count_lines(span_make(s.data + done, s.size - done));
}

static void append_line(struct buffer *b, enum log_level level, uint64_t now_us, const struct log_field *fields);

static void tell_lost(void)
{
    struct buffer line = { 0 };

    append_line(&line, LOG_ERROR, 0,
                (const struct log_field[]){
                    log_text("msg", "log_lines_lost"), log_number("lines", lines_lost), { .kind = LOG_FIELD_END } });
    if (write_lines(buffer_span(&line)) == 0)
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
    lines_lost += write_lines(buffer_span(&lines));
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
