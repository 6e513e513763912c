/* A slow link: forwards TCP connections, holds every byte back for a fixed time in each direction, and counts round trips.
 *
 *     relay LISTEN_PORT UPSTREAM_PORT DELAY_US COUNTERS
 *
 * A round trip begins when the connecting side sends although it has heard something since it last sent: it waited for that. Bytes
 * that it sends without having waited belong to the trip under way, in however many writes they come.
 *
 * COUNTERS is a file of two native 64-bit integers, the round trips so far and the connections open now, mapped so that a program that
 * maps it too sees them as they are. One thread, one poll; what is read becomes a chunk with the time at which it is due at the other side. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { MAX_LINKS = 256, CHUNK_SIZE = 16384, MAX_CHUNKS = 64 };

/* Bytes on their way; size 0 is the end of the stream. */
struct chunk {
    struct chunk *next;
    uint64_t due_ns;
    size_t size, sent;
    unsigned char bytes[CHUNK_SIZE];
};

/* One direction of a link. */
struct stream {
    int from, to;
    struct chunk *first, **last;
    unsigned chunks;
    bool ended;    /* `from` has no more to say */
    bool finished; /* and `to` was told so */
    bool blocked;  /* `to` takes no more at the moment */
};

struct link {
    struct stream up, down; /* towards the upstream, and back */
    bool heard;             /* the connecting side has received something since it last sent */
};

struct counters {
    _Atomic uint64_t round_trips, open;
};

static struct link *links[MAX_LINKS];
static size_t link_count;
static struct counters *counters;
static uint64_t delay_ns;

static void fail(const char *what)
{
    perror(what);
    exit(1);
}

static uint64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static struct sockaddr_in loopback(const char *port)
{
    struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(port)) };
    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return a;
}

static int tcp_socket(void)
{
    int fd = socket(AF_INET, SOCK_STREAM, 0), yes = 1;
    if (fd < 0)
        fail("socket");
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    return fd;
}

static void set_immediate(int fd)
{
    int yes = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
    fcntl(fd, F_SETFL, O_NONBLOCK);
}

static void stream_init(struct stream *s, int from, int to)
{
    *s = (struct stream){ .from = from, .to = to };
    s->last = &s->first;
}

static void link_open(int client, struct sockaddr_in *upstream)
{
    int server = tcp_socket();
    if (link_count == MAX_LINKS || connect(server, (struct sockaddr *)upstream, sizeof *upstream) != 0) {
        close(server);
        close(client);
        return;
    }
    set_immediate(client);
    set_immediate(server);
    struct link *l = calloc(1, sizeof *l);
    if (!l)
        fail("calloc");
    stream_init(&l->up, client, server);
    stream_init(&l->down, server, client);
    l->heard = true;
    links[link_count++] = l;
    counters->open++;
}

static void stream_clear(struct stream *s)
{
    while (s->first) {
        struct chunk *c = s->first;
        s->first = c->next;
        free(c);
    }
}

static void link_close(size_t i)
{
    struct link *l = links[i];
    stream_clear(&l->up);
    stream_clear(&l->down);
    close(l->up.from);
    close(l->down.from);
    free(l);
    links[i] = links[--link_count];
    counters->open--;
}

/* Takes what has arrived; true if that was bytes. */
static bool stream_read(struct stream *s)
{
    struct chunk *c = malloc(sizeof *c);
    if (!c)
        fail("malloc");
    ssize_t n = read(s->from, c->bytes, sizeof c->bytes);
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
        free(c);
        return false;
    }
    s->ended = n <= 0;
    c->next = NULL;
    c->due_ns = now_ns() + delay_ns;
    c->size = n > 0 ? (size_t)n : 0;
    c->sent = 0;
    *s->last = c;
    s->last = &c->next;
    s->chunks++;
    return n > 0;
}

/* Passes on what is due; true if that was bytes. */
static bool stream_write(struct stream *s, uint64_t now)
{
    bool sent = false;
    s->blocked = false;
    while (s->first && s->first->due_ns <= now) {
        struct chunk *c = s->first;
        if (c->size == 0) {
            shutdown(s->to, SHUT_WR);
            s->finished = true;
        } else {
            ssize_t n = send(s->to, c->bytes + c->sent, c->size - c->sent, MSG_NOSIGNAL);
            if (n < 0 && errno == EAGAIN) {
                s->blocked = true;
                return sent;
            }
            sent = sent || n > 0;
            c->sent = n < 0 ? c->size : c->sent + (size_t)n; /* nobody is there any more: forget it */
            if (c->sent < c->size)
                continue;
        }
        s->first = c->next;
        if (!s->first)
            s->last = &s->first;
        s->chunks--;
        free(c);
    }
    return sent;
}

/* What to wait for on the descriptor that `in` reads and `out` writes. */
static struct pollfd poll_for(const struct stream *in, const struct stream *out)
{
    short events = 0;
    if (!in->ended && in->chunks < MAX_CHUNKS)
        events |= POLLIN;
    if (out->blocked)
        events |= POLLOUT;
    return (struct pollfd){ .fd = events ? in->from : -1, .events = events };
}

static void sooner(uint64_t *deadline, const struct stream *s)
{
    if (s->first && !s->blocked && s->first->due_ns < *deadline)
        *deadline = s->first->due_ns;
}

static void wait_for_something(struct pollfd *polls, int listener)
{
    uint64_t deadline = UINT64_MAX, now;
    polls[0] = (struct pollfd){ .fd = listener, .events = POLLIN };
    for (size_t i = 0; i < link_count; i++) {
        struct link *l = links[i];
        polls[1 + 2 * i] = poll_for(&l->up, &l->down);
        polls[2 + 2 * i] = poll_for(&l->down, &l->up);
        sooner(&deadline, &l->up);
        sooner(&deadline, &l->down);
    }
    now = now_ns();
    uint64_t left = deadline > now ? deadline - now : 0;
    struct timespec timeout = { .tv_sec = (time_t)(left / 1000000000u), .tv_nsec = (long)(left % 1000000000u) };
    if (ppoll(polls, 1 + 2 * link_count, deadline == UINT64_MAX ? NULL : &timeout, NULL) < 0 && errno != EINTR)
        fail("ppoll");
}

static void serve(struct link *l, short from_client, short from_server)
{
    if ((from_client & (POLLIN | POLLHUP | POLLERR)) && !l->up.ended && stream_read(&l->up) && l->heard) {
        counters->round_trips++;
        l->heard = false;
    }
    if ((from_server & (POLLIN | POLLHUP | POLLERR)) && !l->down.ended)
        stream_read(&l->down);
    stream_write(&l->up, now_ns());
    if (stream_write(&l->down, now_ns()))
        l->heard = true;
}

static void run(int listener, struct sockaddr_in *upstream)
{
    static struct pollfd polls[1 + 2 * MAX_LINKS];
    for (;;) {
        wait_for_something(polls, listener);
        for (size_t i = link_count; i-- > 0;) { /* downwards: closing moves the last one here */
            serve(links[i], polls[1 + 2 * i].revents, polls[2 + 2 * i].revents);
            if (links[i]->up.finished && links[i]->down.finished)
                link_close(i);
        }
        if (polls[0].revents & POLLIN)
            link_open(accept(listener, NULL, NULL), upstream);
    }
}

int main(int argc, char **argv)
{
    if (argc != 5) {
        fprintf(stderr, "usage: relay LISTEN_PORT UPSTREAM_PORT DELAY_US COUNTERS\n");
        return 2;
    }
    delay_ns = strtoull(argv[3], NULL, 10) * 1000u;
    int file = open(argv[4], O_RDWR | O_CREAT | O_TRUNC, 0644);
    if (file < 0 || ftruncate(file, sizeof *counters) != 0)
        fail(argv[4]);
    counters = mmap(NULL, sizeof *counters, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    if (counters == MAP_FAILED)
        fail("mmap");

    prctl(PR_SET_TIMERSLACK, 1); /* wake up when asked to, not 50 µs later */
    int listener = tcp_socket();
    struct sockaddr_in here = loopback(argv[1]), upstream = loopback(argv[2]);
    if (bind(listener, (struct sockaddr *)&here, sizeof here) != 0 || listen(listener, 64) != 0)
        fail("listen");
    run(listener, &upstream);
}
