/* Arguments in, lines of a file through story.c.
 *
 * With -f the file is followed as it grows: read what is there, then look again a little later. It is looked up by name as well, for a
 * log is rotated by renaming it: when the name means another file, the old one is read to its end and the new one from its
 * beginning. A file that got shorter was emptied in place, and is read from its beginning. */
#include "proxy/ops/events_command.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "protocol/buffer.h"
#include "proxy/ops/story.h"

enum {
    READ_BYTES = 64 << 10,
    MAX_LINE_BYTES = 64 << 20,
    PAST_BYTES = 64 << 10, /* of a file that is there when following begins: its last lines are shown first */
    LOOK_AGAIN_MS = 100
};

struct reading {
    struct stories *stories;
    struct buffer partial; /* a line whose end has not been read yet */
    bool skip;             /* the rest of the line under way is not wanted */
    unsigned long passed_over;
};

/* --- lines --------------------------------------------------------------------------------------- */

static void end_line(struct reading *r)
{
    bool is_blank = r->partial.size == 0;

    if (!r->skip && !is_blank && !stories_read(r->stories, r->partial.data, r->partial.size))
        r->passed_over++;
    r->skip = false;
    buffer_clear(&r->partial);
}

static void read_bytes(struct reading *r, struct span bytes)
{
    while (bytes.size > 0) {
        const char *newline = memchr(bytes.data, '\n', bytes.size);
        size_t size = newline != NULL ? (size_t)(newline - bytes.data) : bytes.size;

        if (!r->skip && r->partial.size + size > MAX_LINE_BYTES) {
            r->passed_over++;
            r->skip = true;
        }
        if (!r->skip)
            buffer_append(&r->partial, bytes.data, size);
        if (newline != NULL)
            end_line(r);
        size += newline != NULL;
        bytes = span_make(bytes.data + size, bytes.size - size);
    }
}

/* Up to where the file ends now. False: it cannot be read. */
static bool read_to_end(struct reading *r, int fd)
{
    char bytes[READ_BYTES];

    for (;;) {
        ssize_t n = read(fd, bytes, sizeof bytes);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return n == 0;
        read_bytes(r, span_make(bytes, (size_t)n));
        if (ferror(stdout)) /* nobody reads what is shown */
            return true;
    }
}

/* --- following ----------------------------------------------------------------------------------- */

/* Not from the very beginning of a large log. */
static void skip_old_lines(struct reading *r, int fd)
{
    off_t size = lseek(fd, 0, SEEK_END);

    if (size > PAST_BYTES) {
        lseek(fd, size - PAST_BYTES, SEEK_SET);
        r->skip = true; /* to the end of the line in which that is */
    } else if (size >= 0) {
        lseek(fd, 0, SEEK_SET);
    }
}

static bool was_emptied(int fd)
{
    struct stat now;
    return fstat(fd, &now) == 0 && S_ISREG(now.st_mode) && now.st_size < lseek(fd, 0, SEEK_CUR);
}

/* The file that has taken the name since `fd` was opened; -1: it is still the same, or there is none at the moment. */
static int open_successor(const char *file, int fd)
{
    struct stat ours, named;

    if (fstat(fd, &ours) < 0 || stat(file, &named) < 0 || (ours.st_dev == named.st_dev && ours.st_ino == named.st_ino))
        return -1;
    return open(file, O_RDONLY | O_CLOEXEC);
}

static bool follow(struct reading *r, const char *file, int fd)
{
    bool is_readable = true;

    skip_old_lines(r, fd);
    while (is_readable && !ferror(stdout)) {
        int successor = open_successor(file, fd);
        is_readable = read_to_end(r, fd); /* after the look: whoever rotates has stopped writing here by then */
        if (successor >= 0) {
            end_line(r);
            close(fd);
            fd = successor;
            continue;
        }
        if (was_emptied(fd)) {
            lseek(fd, 0, SEEK_SET);
            buffer_clear(&r->partial);
        }
        poll(NULL, 0, LOOK_AGAIN_MS);
    }
    close(fd);
    return is_readable;
}

/* --- the command --------------------------------------------------------------------------------- */

static const char usage[] =
    "usage: pgatomic events [-f] [--channel GLOB] [--state STATE] [--request ID] [FILE]\n"
    "\n"
    "Shows what became of each event in pgatomic's JSON log, a line an event.\n"
    "\n"
    "  -f, --follow       go on as the log grows, and show each step as it happens\n"
    "  --channel GLOB     only events of these channels\n"
    "  --state STATE      only events that are held, released, discarded, delivered, retry or dead\n"
    "  --request ID       only events of this request; the front of its id is enough\n"
    "  FILE               the log; standard input when not given\n";

struct arguments {
    struct story_filter filter;
    bool follow;
    bool help;
    const char *file; /* NULL: standard input */
};

static bool parse_arguments(int argc, char **argv, struct arguments *a)
{
    enum { CHANNEL = 256, STATE, REQUEST };
    static const struct option options[] = {
        { "follow", no_argument, NULL, 'f' },        { "channel", required_argument, NULL, CHANNEL },
        { "state", required_argument, NULL, STATE }, { "request", required_argument, NULL, REQUEST },
        { "help", no_argument, NULL, 'h' },          { NULL, 0, NULL, 0 }
    };

    optind = 0;
    for (int o; (o = getopt_long(argc, argv, "fh", options, NULL)) != -1;) {
        if (o == 'f')
            a->follow = true;
        else if (o == 'h')
            a->help = true;
        else if (o == CHANNEL)
            a->filter.channel = optarg;
        else if (o == STATE)
            a->filter.state = optarg;
        else if (o == REQUEST)
            a->filter.request = optarg;
        else
            return false;
    }
    if (a->filter.state != NULL && !story_is_state(a->filter.state)) {
        fprintf(stderr, "pgatomic events: there is no state \"%s\"\n", a->filter.state);
        return false;
    }
    if (argc - optind > 1)
        return false;
    a->file = optind < argc && strcmp(argv[optind], "-") != 0 ? argv[optind] : NULL;
    return true;
}

static bool read_all(const struct arguments *a, struct reading *r)
{
    if (a->file == NULL)
        return read_to_end(r, STDIN_FILENO);

    int fd = open(a->file, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    if (a->follow)
        return follow(r, a->file, fd);
    bool is_readable = read_to_end(r, fd);
    close(fd);
    return is_readable;
}

int events_command(int argc, char **argv)
{
    struct arguments a = { .file = NULL };

    if (!parse_arguments(argc, argv, &a)) {
        fputs(usage, stderr);
        return 2;
    }
    if (a.help) {
        fputs(usage, stdout);
        return 0;
    }

    if (a.follow)
        setvbuf(stdout, NULL, _IOLBF, 0);
    struct reading r = { .stories = stories_new(&a.filter, a.follow, stdout) };
    bool is_readable = read_all(&a, &r);
    if (!is_readable)
        fprintf(stderr, "pgatomic events: %s cannot be read: %s\n", a.file != NULL ? a.file : "standard input",
                strerror(errno));
    end_line(&r);
    stories_finish(r.stories);
    buffer_free(&r.partial);
    fflush(stdout);
    if (r.passed_over > 0)
        fprintf(stderr, "pgatomic events: passed over %lu lines that are not of the JSON log\n", r.passed_over);
    return is_readable ? 0 : 1;
}
