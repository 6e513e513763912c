#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <unistd.h>

#include "proxy/net/handover.h"
#include "proxy/net/handover_packet.h"
#include "proxy/net/inherited.h"

static void open_pair(int ends[2])
{
    cr_assert_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK, 0, ends), 0);
}

static bool is_open(int fd)
{
    return fcntl(fd, F_GETFD) >= 0;
}

static int listening_socket(struct address *a)
{
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    cr_assert(address_set_ip(a, "127.0.0.1", 0));
    cr_assert_eq(bind(fd, &a->any, a->size), 0);
    cr_assert_eq(listen(fd, 1), 0);
    cr_assert(address_of_socket(a, fd));
    return fd;
}

Test(handover, P12_a_packet_arrives_with_its_descriptors)
{
    int ends[2];
    struct address a, b;
    open_pair(ends);
    struct handover_packet said = { .kind = HANDOVER_SOCKET, .owns_file = true }, heard;
    said.fd = listening_socket(&a);
    said.bell = listening_socket(&b);
    cr_assert(handover_send(ends[0], &said));
    cr_assert(handover_receive(ends[1], &heard));
    cr_assert(heard.kind == HANDOVER_SOCKET && heard.owns_file);
    cr_assert(heard.fd != said.fd && heard.bell != said.bell);
    struct address same;
    cr_assert(address_of_socket(&same, heard.fd) && address_equal(&same, &a));
    cr_assert(address_of_socket(&same, heard.bell) && address_equal(&same, &b));
    cr_assert(fcntl(heard.fd, F_GETFD) & FD_CLOEXEC, "programs that we start have no business with it");
}

Test(handover, P12_a_packet_without_descriptors_has_none)
{
    int ends[2];
    open_pair(ends);
    struct handover_packet said = { .kind = HANDOVER_READY, .fd = -1, .bell = -1 }, heard;
    cr_assert(handover_send(ends[0], &said));
    cr_assert(handover_receive(ends[1], &heard));
    cr_assert(heard.kind == HANDOVER_READY && heard.fd == -1 && heard.bell == -1);
}

static int answering;
static pid_t waiting;

static void answer(int number)
{
    (void)number;
    struct handover_packet gone = { .kind = HANDOVER_GONE, .fd = -1, .bell = -1 };
    (void)handover_send(answering, &gone);
}

static bool sleeps(pid_t thread)
{
    char path[64], state = '?';
    snprintf(path, sizeof path, "/proc/self/task/%d/stat", (int)thread);
    FILE *stat = fopen(path, "r");
    cr_assert_not_null(stat);
    cr_assert_eq(fscanf(stat, "%*d (%*[^)]) %c", &state), 1);
    fclose(stat);
    return state == 'S';
}

static void *interrupt(void *thread)
{
    while (!sleeps(waiting))
        sched_yield();
    cr_assert_eq(pthread_kill(*(pthread_t *)thread, SIGALRM), 0);
    return NULL;
}

/* The answer comes from the handler of the signal that interrupts the wait. */
Test(handover, P12_a_signal_does_not_end_the_wait_for_an_answer, .timeout = 60)
{
    int ends[2];
    pthread_t self = pthread_self(), other;
    cr_assert_eq(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, ends), 0);
    struct timeval patience = { .tv_sec = 30 };
    cr_assert_eq(setsockopt(ends[1], SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience), 0);
    answering = ends[0];
    waiting = gettid();
    cr_assert_neq(signal(SIGALRM, answer), SIG_ERR);
    cr_assert_eq(pthread_create(&other, NULL, interrupt, &self), 0);
    struct handover_packet heard;
    cr_expect(handover_receive(ends[1], &heard) && heard.kind == HANDOVER_GONE);
    cr_assert_eq(pthread_join(other, NULL), 0);
}

Test(handover, P12_nothing_but_a_whole_packet_of_this_version_is_one)
{
    int ends[2];
    open_pair(ends);
    struct handover_packet packet = { .kind = HANDOVER_READY, .version = HANDOVER_VERSION + 1 }, heard;
    cr_assert_eq(send(ends[0], &packet, sizeof packet, 0), (ssize_t)sizeof packet);
    cr_assert(!handover_receive(ends[1], &heard) && errno == EPROTO);
    packet.version = HANDOVER_VERSION;
    cr_assert_eq(send(ends[0], &packet, sizeof packet - 1, 0), (ssize_t)sizeof packet - 1);
    cr_assert(!handover_receive(ends[1], &heard) && errno == EPROTO);
    cr_assert(!handover_receive(ends[1], &heard) && errno == EAGAIN);
    close(ends[0]);
    cr_assert(!handover_receive(ends[1], &heard) && errno == 0);
}

Test(handover, P12_descriptors_of_what_is_no_packet_are_closed)
{
    int ends[2];
    struct address a;
    open_pair(ends);
    int given = listening_socket(&a), next = dup(0);
    close(next); /* the number that a descriptor gets next */
    char byte = 'x';
    struct iovec part = { &byte, 1 };
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(sizeof(int))];
    } control = { .bytes = { 0 } };
    struct msghdr message = { .msg_iov = &part, .msg_iovlen = 1, .msg_control = &control };
    message.msg_controllen = sizeof control.bytes;
    struct cmsghdr *head = CMSG_FIRSTHDR(&message);
    *head = (struct cmsghdr){ .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS, .cmsg_len = CMSG_LEN(sizeof(int)) };
    memcpy(CMSG_DATA(head), &given, sizeof given);
    cr_assert_eq(sendmsg(ends[0], &message, 0), 1);
    struct handover_packet heard;
    cr_assert_not(handover_receive(ends[1], &heard));
    cr_assert_not(is_open(next));
}

Test(handover, P12_a_bells_name_follows_from_the_address_and_the_user)
{
    struct address a, b, bell, again;
    cr_assert(address_set_ip(&a, "127.0.0.1", 6432) && address_set_ip(&b, "127.0.0.1", 6433));
    handover_bell_address(&a, &bell);
    handover_bell_address(&a, &again);
    cr_assert(address_equal(&bell, &again) && bell.un.sun_path[0] == '\0');
    char user[32];
    int size = snprintf(user, sizeof user, "pgatomic/%u/", (unsigned)geteuid());
    cr_assert_eq(memcmp(bell.un.sun_path + 1, user, (size_t)size), 0);
    handover_bell_address(&b, &again);
    cr_assert_not(address_equal(&bell, &again));
}

Test(inherited, P12_a_socket_is_taken_once_by_who_wants_its_address)
{
    struct inherited socket = { .bell = -1, .owns_file = true }, out;
    struct address elsewhere;
    socket.fd = listening_socket(&socket.address);
    inherited_add(&socket);
    cr_assert(address_set_ip(&elsewhere, "127.0.0.1", 1));
    cr_assert_not(inherited_take(&elsewhere, &out));
    cr_assert(inherited_take(&socket.address, &out));
    cr_assert(out.fd == socket.fd && out.owns_file && fcntl(out.fd, F_GETFL) & O_NONBLOCK);
    cr_assert_not(inherited_take(&socket.address, &out));
    cr_assert_not(inherited_take_any(&out));
}

Test(inherited, P12_of_two_sockets_of_an_address_the_first_stays_and_has_a_bell_of_either)
{
    struct inherited first = { .bell = -1, .is_required = true }, second = { 0 }, third = { 0 }, out;
    first.fd = listening_socket(&first.address);
    second.fd = dup(first.fd);
    third.fd = dup(first.fd);
    second.bell = dup(0);
    third.bell = dup(0);
    second.address = third.address = first.address;
    inherited_add(&first);
    inherited_add(&second);
    inherited_add(&third);
    cr_assert(inherited_take_any(&out));
    cr_assert(out.fd == first.fd && out.bell == second.bell && out.is_required);
    cr_assert(!is_open(second.fd) && !is_open(third.fd) && !is_open(third.bell));
    cr_assert_not(inherited_take_any(&out));
}

/* --- bells ------------------------------------------------------------------------------------------ */

enum { RESTS_US = 50 * 1000, FEW_TURNS = 20 };

static void count_turn(void *context)
{
    ++*(unsigned *)context;
}

static void stop(void *context)
{
    loop_stop(context);
}

static void run_for(struct loop *l, uint64_t time_us)
{
    struct timer *timer = timer_new(l, stop, l);
    timer_start(timer, time_us);
    loop_run(l);
    timer_free(timer);
}

static void on_asked(void *context, struct handover *to)
{
    (void)to;
    loop_stop(context);
}

/* No descriptor above those that are open can be had. */
static struct rlimit take_descriptors_away(void)
{
    struct rlimit before, little;
    int next = dup(0);
    close(next);
    cr_assert_eq(getrlimit(RLIMIT_NOFILE, &before), 0);
    little = before;
    little.rlim_cur = (rlim_t)next;
    cr_assert_eq(setrlimit(RLIMIT_NOFILE, &little), 0);
    return before;
}

Test(handover, P12_who_rings_while_no_descriptor_is_left_waits_and_makes_no_work)
{
    unsigned turns = 0;
    struct loop l;
    struct address at;
    loop_init(&l, count_turn, &turns);
    struct handover_host host = { .loop = &l, .on_asked = on_asked, .context = &l };
    int place = listening_socket(&at);
    struct bell *bell = bell_hang(&host, &at, -1);
    cr_assert(bell != NULL);
    struct address name;
    handover_bell_address(&at, &name);
    int caller = socket(AF_UNIX, SOCK_SEQPACKET, 0);
    cr_assert_eq(connect(caller, &name.any, name.size), 0);

    struct rlimit before = take_descriptors_away();
    run_for(&l, RESTS_US);
    cr_assert_lt(turns, FEW_TURNS);

    cr_assert_eq(setrlimit(RLIMIT_NOFILE, &before), 0);
    struct handover_packet ask = { .kind = HANDOVER_TAKEOVER, .fd = -1, .bell = -1 };
    cr_assert(handover_send(caller, &ask));
    loop_run(&l); /* until on_asked() */
    handovers_end();
    bell_take_down(bell);
    close(caller);
    close(place);
    loop_destroy(&l);
}
