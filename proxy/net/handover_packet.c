/* Packets with descriptors.
 *
 * Both ends run on one machine and were made from the same sources (the version says so): a packet is the struct as it is. */
#include "proxy/net/handover_packet.h"

#include <errno.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "protocol/memory.h"

enum { DESCRIPTORS_MAX = 2 };

union control {
    struct cmsghdr align;
    char bytes[CMSG_SPACE(DESCRIPTORS_MAX * sizeof(int))];
};

bool handover_send(int fd, const struct handover_packet *packet)
{
    struct handover_packet said = *packet;
    said.version = HANDOVER_VERSION;
    struct iovec part = { &said, sizeof said };
    union control control = { .bytes = { 0 } };
    struct msghdr message = { .msg_iov = &part, .msg_iovlen = 1 };
    int fds[DESCRIPTORS_MAX] = { packet->fd, packet->bell };
    size_t count = packet->fd < 0 ? 0 : packet->bell < 0 ? 1 : 2;
    if (count > 0) {
        message.msg_control = control.bytes;
        message.msg_controllen = CMSG_SPACE(count * sizeof(int));
        struct cmsghdr *head = CMSG_FIRSTHDR(&message);
        head->cmsg_level = SOL_SOCKET;
        head->cmsg_type = SCM_RIGHTS;
        head->cmsg_len = CMSG_LEN(count * sizeof(int));
        memcpy(CMSG_DATA(head), fds, count * sizeof(int));
    }
    ssize_t sent;
    do
        sent = sendmsg(fd, &message, MSG_NOSIGNAL);
    while (sent < 0 && errno == EINTR);
    return sent == (ssize_t)sizeof said;
}

/* The descriptors that came with a message; -1 for those that did not. */
static void take_descriptors(struct msghdr *message, int fds[DESCRIPTORS_MAX])
{
    for (size_t i = 0; i < DESCRIPTORS_MAX; i++)
        fds[i] = -1;
    for (struct cmsghdr *head = CMSG_FIRSTHDR(message); head != NULL; head = CMSG_NXTHDR(message, head))
        if (head->cmsg_level == SOL_SOCKET && head->cmsg_type == SCM_RIGHTS)
            memcpy(fds, CMSG_DATA(head), head->cmsg_len - CMSG_LEN(0));
}

bool handover_receive(int fd, struct handover_packet *out)
{
    struct iovec part = { out, sizeof *out };
    union control control;
    struct msghdr message = { .msg_iov = &part, .msg_iovlen = 1, .msg_control = control.bytes };
    message.msg_controllen = sizeof control.bytes;
    ssize_t got;
    do
        got = recvmsg(fd, &message, MSG_CMSG_CLOEXEC);
    while (got < 0 && errno == EINTR); /* with a deadline on the socket the system does not repeat it */
    if (got < 0)
        return false;
    int fds[DESCRIPTORS_MAX];
    take_descriptors(&message, fds);
    if (got == (ssize_t)sizeof *out && out->version == HANDOVER_VERSION) {
        out->fd = fds[0];
        out->bell = fds[1];
        return true;
    }
    for (size_t i = 0; i < DESCRIPTORS_MAX; i++)
        if (fds[i] >= 0)
            close(fds[i]);
    errno = got == 0 ? 0 : EPROTO;
    return false;
}

bool handover_is_ours(int fd, pid_t *pid)
{
    struct ucred owner;
    socklen_t size = sizeof owner;
    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &owner, &size) != 0 || owner.uid != geteuid())
        return false;
    if (pid != NULL)
        *pid = owner.pid;
    return true;
}

/* A path would not always fit behind anything else: of every address the digest is taken. */
void handover_bell_address(const struct address *a, struct address *out)
{
    enum { SHOWN = 16 };
    char text[ADDRESS_TEXT_SIZE], name[64];
    unsigned char digest[EVP_MAX_MD_SIZE] = { 0 };
    address_format(a, text);
    if (EVP_Q_digest(NULL, "SHA256", NULL, text, strlen(text), digest, NULL) != 1)
        abort();
    int size = snprintf(name, sizeof name, "pgatomic/%u/", (unsigned)geteuid());
    for (size_t i = 0; i < SHOWN; i++)
        size += snprintf(name + size, sizeof name - (size_t)size, "%02x", digest[i]);
    (void)address_set_abstract(out, name);
}
