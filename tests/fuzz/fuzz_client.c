/* A whole worker, from the first byte of a stranger to the last of its upstream: startup, login, greeting, session, cancel, the console.
 *
 * An input's first byte chooses the config. Then come steps, each a letter with as many bytes as it needs. Two clients take turns; what pgatomic dials is answered here.
 *
 *   t      the other client's turn                          g      the loop turns
 *   s n m  a StartupMessage to databases[n] as users[m]     r n    a request that may come before it: SSL, GSSENC, direct TLS, cancel
 *   v n m  the same of protocol 3.n, with an option that nobody knows
 *   m t n  a message of type t and body as n bytes follow   b n    n bytes as they are
 *   p n    the beginning of SCRAM, as one who can read it would go on from there
 *   w n    an upstream lets in, with a cancel key of n bytes
 *   u t n  its message of type t and body                   a n    n bytes of it as they are
 *   z n    CommandComplete and ReadyForQuery in status "ITE"[n]
 *   e l    the client goes; the upstream goes
 *
 * What must hold:
 * - whoever has to show who it is, and cannot, is never let in, and costs no upstream a connection;
 * - what such a client is told is whole messages, of the types that belong there; 'N' is said once to each request for encryption;
 * - when all is over, nothing is left: no descriptor, no memory (as the sanitizers see). */
#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "protocol/message.h"
#include "proxy/ops/log.h"
#include "proxy/worker.h"
#include "tests/fuzz/fuzz.h"

enum { CLIENTS = 2, UPSTREAMS = 8, TURNS = 4, LOCKED = 0, CONFIGS = 2 };

/* The first is for those who can show who they are; nobody here can. */
static const char *const databases[] = {
    "locked", "pool", "kept", "own", "relay", "pgatomic", "replication", "nothing"
};
static const char *const users[] = { "app", "boss", "", "nobody" };

enum { DATABASES = sizeof databases / sizeof databases[0], USERS = sizeof users / sizeof users[0] };

struct end {
    int fd; /* -1: none */
    struct buffer got;
    bool checked; /* a client of the locked database */
    bool begun;   /* it has sent a StartupMessage */
};

struct play {
    struct end clients[CLIENTS];
    int upstreams[UPSTREAMS];
    size_t upstream_count, turn;
    bool only_locked; /* no client has asked for anything else, or brought bytes of its own */
    bool relays;      /* upstreams say who may log in */
};

static struct config *configs[CONFIGS];
static int listener;

/* --- the scene ---------------------------------------------------------------------------------------- */

static void file_of(const char *text, char path[40])
{
    int fd = memfd_create("fuzz", 0);
    MUST(fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text));
    snprintf(path, 40, "/proc/self/fd/%d", fd);
}

static void listen_in(const char *directory)
{
    struct address at;
    MUST(address_set_unix(&at, directory, 5432));
    listener = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
    MUST(listener >= 0 && bind(listener, &at.any, at.size) == 0 && listen(listener, 64) == 0);
}

/* In the first, who may log in is for pgatomic to know; in the second for the upstream. */
static const char *const texts[CONFIGS] = {
    "log { level = error  file = \"/dev/null\" }\nadmin_users = {\"boss\"}\n"
    "auth { method = scram-sha-256  users = \"USERS\" }\n"
    "login console { database = \"pgatomic\"  user = \"boss\"  method = trust }\n"
    "login digest { database = \"digest\"  method = md5 }\n"
    "login others { user = \"app\"  database = \"o*\"  method = trust }\n"
    "database locked { upstream = \"UPSTREAM\"  pool = transaction }\n"
    "database opool { upstream = \"UPSTREAM\"  pool = transaction  pool_size = 1  prepare_unnamed = on }\n"
    "database okept { upstream = \"UPSTREAM\"  pool = session  pool_size = 1 }\n"
    "database own { upstream = \"UPSTREAM\"  pool = dedicated }\n"
    "database digest { upstream = \"UPSTREAM\"  pool = dedicated }\n",
    "log { level = error  file = \"/dev/null\" }\nadmin_users = {\"boss\"}\n"
    "database \"*\" { upstream = \"UPSTREAM\" }\n",
};

/* `with` in place of `word`, wherever that is. */
static void replace(struct buffer *text, const char *word, const char *with)
{
    struct buffer made = { 0 };
    const char *rest = text->data, *end = text->data + text->size;
    for (const char *at; (at = memmem(rest, (size_t)(end - rest), word, strlen(word))) != NULL;
         rest = at + strlen(word)) {
        buffer_append(&made, rest, (size_t)(at - rest));
        buffer_append_text(&made, with);
    }
    buffer_append(&made, rest, (size_t)(end - rest));
    buffer_free(text);
    *text = made;
}

static void set_the_scene(void)
{
    char directory[] = "/tmp/pgatomic-fuzz-XXXXXX", secrets[40], path[40], upstream[80];
    MUST(mkdtemp(directory) != NULL);
    listen_in(directory);
    snprintf(upstream, sizeof upstream, "host=%s sslmode=disable", directory);
    file_of("user \"app\" { password = \"xyzzy\" }\nuser \"boss\" { password = \"plugh\" }\n", secrets);
    for (size_t i = 0; i < CONFIGS; i++) {
        struct buffer text = { 0 };
        buffer_append_text(&text, texts[i]);
        replace(&text, "USERS", secrets);
        replace(&text, "UPSTREAM", upstream);
        buffer_append_u8(&text, '\0');
        file_of(text.data, path);
        buffer_free(&text);
        configs[i] = config_read(path, stderr);
        MUST(configs[i] != NULL && log_open(configs[i]));
    }
    signal(SIGPIPE, SIG_IGN);
}

/* --- the two sides ------------------------------------------------------------------------------------- */

static void accept_upstreams(struct play *p)
{
    for (int fd; (fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0;) {
        MUST(!p->only_locked);
        if (p->upstream_count == UPSTREAMS)
            close(p->upstreams[--p->upstream_count]);
        p->upstreams[p->upstream_count++] = fd;
    }
}

static void read_all(int fd, struct buffer *got)
{
    char *room = buffer_reserve(got, 65536);
    ssize_t size;
    while ((size = read(fd, room, 65536)) > 0) {
        got->size += (size_t)size;
        room = buffer_reserve(got, 65536);
    }
}

/* Nothing but requests to show who it is, and refusals. */
static void check_told(struct end *client)
{
    struct span rest = buffer_span(&client->got);
    struct frame f;
    size_t refusals_of_encryption = 0;
    for (; rest.size > 0 && rest.data[0] == 'N'; refusals_of_encryption++)
        rest = span_make(rest.data + 1, rest.size - 1);
    MUST(refusals_of_encryption <= 2);
    while (frame_next_whole(backend_messages, rest, 1 << 20, &f, NULL) == FRAME_OK) {
        MUST(f.type == 'R' || f.type == 'E' || f.type == 'v');
        MUST(f.type != 'R' || wire_get_u32(frame_body(&f).data) != AUTHENTICATION_OK);
        rest = span_make(rest.data + f.bytes.size, rest.size - f.bytes.size);
    }
    MUST(rest.size == 0);
}

static void turn(struct play *p)
{
    struct loop *l = workers_first_loop();
    for (int i = 0; i < TURNS; i++) {
        l->now_known = false;
        MUST(event_base_loop(l->base, EVLOOP_NONBLOCK) >= 0);
        l->on_turn_end(l->context);
        accept_upstreams(p);
    }
    for (size_t i = 0; i < CLIENTS; i++) {
        if (p->clients[i].fd < 0)
            continue;
        read_all(p->clients[i].fd, &p->clients[i].got);
        if (p->clients[i].checked)
            check_told(&p->clients[i]);
        else
            buffer_clear(&p->clients[i].got);
    }
    struct buffer heard = { 0 };
    for (size_t i = 0; i < p->upstream_count; i++)
        read_all(p->upstreams[i], &heard);
    buffer_free(&heard);
}

static void open_client(struct play *p)
{
    int ends[2];
    struct address peer = { .size = sizeof peer.in, .in = { .sin_family = AF_INET } };
    MUST(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, ends) == 0);
    p->clients[p->turn] = (struct end){ .fd = ends[0], .checked = !p->relays };
    workers_adopt(ends[1], &peer);
}

static void close_client(struct play *p)
{
    struct end *client = &p->clients[p->turn];
    if (client->fd >= 0)
        close(client->fd);
    buffer_free(&client->got);
    client->fd = -1;
}

static void client_says(struct play *p, struct span bytes)
{
    if (p->clients[p->turn].fd < 0)
        open_client(p);
    if (write(p->clients[p->turn].fd, bytes.data, bytes.size) < 0)
        MUST(errno == EAGAIN || errno == EPIPE || errno == ECONNRESET);
}

static void upstream_says(struct play *p, struct span bytes)
{
    if (p->upstream_count > 0 && write(p->upstreams[p->upstream_count - 1], bytes.data, bytes.size) < 0)
        MUST(errno == EAGAIN || errno == EPIPE || errno == ECONNRESET);
}

/* --- what clients say ------------------------------------------------------------------------------------ */

struct script {
    const uint8_t *data;
    size_t size, at;
};

static unsigned next_byte(struct script *from)
{
    return from->at < from->size ? from->data[from->at++] : 0;
}

static struct span next_bytes(struct script *from, size_t size)
{
    size_t left = from->size - from->at;
    size = size < left ? size : left;
    from->at += size;
    return span_make((const char *)from->data + from->at - size, size);
}

/* From here on nothing is known of whom the client may be. */
static void expect_anything(struct play *p)
{
    p->clients[p->turn].checked = p->only_locked = false;
}

static void say_startup(struct play *p, struct script *from, bool newer)
{
    struct buffer made = { 0 };
    unsigned minor = newer ? next_byte(from) : 0, database = next_byte(from) % DATABASES;
    size_t start = message_begin_startup(&made, 3, (uint16_t)minor);
    const char *pairs[] = { "user", users[next_byte(from) % USERS], "database", databases[database], "_pq_.unheard",
                            "of" };
    for (size_t i = 0; i < (newer ? 6 : 4); i++)
        buffer_append_string(&made, span_of(pairs[i]));
    message_end_startup(&made, start);
    if (p->clients[p->turn].fd < 0)
        open_client(p);
    if (database != LOCKED && !p->clients[p->turn].begun)
        expect_anything(p);
    p->clients[p->turn].begun = true;
    client_says(p, buffer_span(&made));
    buffer_free(&made);
}

static void say_request(struct play *p, unsigned which)
{
    static const char ssl[] = "\0\0\0\10\4\322\26\57", gssenc[] = "\0\0\0\10\4\322\26\60",
                      tls[] = "\26\3\1\2\0\1\0\1\374\3\3";
    struct buffer made = { 0 };
    if (which % 4 < 2)
        buffer_append(&made, which % 4 == 0 ? ssl : gssenc, 8);
    else if (which % 4 == 2)
        buffer_append(&made, tls, sizeof tls - 1);
    else
        message_add_cancel(&made, which, span_of("abcdefghijklmnopqrstuvwxyz"));
    client_says(p, buffer_span(&made));
    buffer_free(&made);
}

static struct buffer message_of(struct script *from)
{
    struct buffer made = { 0 };
    char type = (char)next_byte(from);
    struct span body = next_bytes(from, next_byte(from));
    buffer_append_u8(&made, (uint8_t)type);
    buffer_append_u32(&made, (uint32_t)body.size + 4);
    buffer_append_span(&made, body);
    return made;
}

/* Goes on with the nonce that it was given, and a proof that is none. */
static void say_scram(struct play *p, unsigned which)
{
    struct buffer made = { 0 };
    struct span got = buffer_span(&p->clients[p->turn].got);
    const char *nonce = got.size > 0 ? memmem(got.data, got.size, "r=", 2) : NULL;
    const char *comma = nonce != NULL ? memchr(nonce, ',', got.size - (size_t)(nonce - got.data)) : NULL;
    if (which % 2 == 0 || comma == NULL) {
        buffer_append(&made, "p\0\0\0\43SCRAM-SHA-256\0\0\0\0\15n,,n=,r=abcde", 36);
    } else {
        buffer_append_u8(&made, 'p');
        buffer_append_u32(&made, 4 + 7 + (uint32_t)(comma - nonce) + 3 + 44);
        buffer_append_text(&made, "c=biws,");
        buffer_append(&made, nonce, (size_t)(comma - nonce));
        buffer_append_text(&made, ",p=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=");
    }
    client_says(p, buffer_span(&made));
    buffer_free(&made);
}

/* --- what upstreams say ------------------------------------------------------------------------------------ */

static void say_welcome(struct play *p, unsigned key_size)
{
    static const char key[256] = "secret";
    struct buffer made = { 0 };
    buffer_append(&made, "R\0\0\0\10\0\0\0\0", 9);
    message_add_parameter_status(&made, span_of("client_encoding"), span_of("UTF8"));
    message_add_parameter_status(&made, span_of("standard_conforming_strings"), span_of("on"));
    buffer_append_u8(&made, 'K');
    buffer_append_u32(&made, 8 + key_size);
    buffer_append_u32(&made, 77);
    buffer_append(&made, key, key_size);
    message_add_ready(&made, 'I');
    upstream_says(p, buffer_span(&made));
    buffer_free(&made);
}

static void say_done(struct play *p, unsigned status)
{
    struct buffer made = { 0 };
    message_add_command_complete(&made, span_of("SELECT 1"));
    message_add_ready(&made, "ITE"[status % 3]);
    upstream_says(p, buffer_span(&made));
    buffer_free(&made);
}

/* --- steps -------------------------------------------------------------------------------------------------- */

static void say_message(struct play *p, struct script *from, bool of_client)
{
    struct buffer made = message_of(from);
    if (of_client && !p->clients[p->turn].begun)
        expect_anything(p); /* it may be the beginning of a StartupMessage */
    if (of_client)
        client_says(p, buffer_span(&made));
    else
        upstream_says(p, buffer_span(&made));
    buffer_free(&made);
}

static void take_step(struct play *p, struct script *from)
{
    switch (next_byte(from)) {
    case 't':
        p->turn = (p->turn + 1) % CLIENTS;
        return;
    case 's':
        say_startup(p, from, false);
        return;
    case 'v':
        say_startup(p, from, true);
        return;
    case 'r':
        say_request(p, next_byte(from));
        return;
    case 'm':
        say_message(p, from, true);
        return;
    case 'b':
        if (p->clients[p->turn].fd < 0)
            open_client(p);
        if (!p->clients[p->turn].begun)
            expect_anything(p);
        client_says(p, next_bytes(from, next_byte(from)));
        return;
    case 'p':
        say_scram(p, next_byte(from));
        return;
    case 'w':
        say_welcome(p, next_byte(from));
        return;
    case 'u':
        say_message(p, from, false);
        return;
    case 'a':
        upstream_says(p, next_bytes(from, next_byte(from)));
        return;
    case 'z':
        say_done(p, next_byte(from));
        return;
    case 'e':
        close_client(p);
        return;
    case 'l':
        if (p->upstream_count > 0)
            close(p->upstreams[--p->upstream_count]);
        return;
    default:
        turn(p);
        return;
    }
}

static int first_free_descriptor(void)
{
    int fd = dup(listener);
    close(fd);
    return fd;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    struct script from = { data, size, 1 };
    size_t chosen = data[0] % CONFIGS;
    struct play p = { .clients = { { .fd = -1 }, { .fd = -1 } }, .only_locked = chosen == 0, .relays = chosen == 1 };
    if (configs[0] == NULL)
        set_the_scene();
    int before = first_free_descriptor();
    workers_init(1, configs[chosen]);
    while (from.at < from.size)
        take_step(&p, &from);
    turn(&p);
    for (p.turn = 0; p.turn < CLIENTS; p.turn++)
        close_client(&p);
    turn(&p);
    workers_free();
    while (p.upstream_count > 0)
        close(p.upstreams[--p.upstream_count]);
    for (int fd; (fd = accept(listener, NULL, NULL)) >= 0;)
        close(fd);
    MUST(first_free_descriptor() == before);
    return 0;
}
