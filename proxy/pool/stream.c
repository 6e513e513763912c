/* Data in bulk, for both who listen in on it: neither learns of it unless the other lets it pass. */
#include "proxy/pool/stream.h"

#include "protocol/frame.h"
#include "proxy/link/link.h"
#include "proxy/session/session.h"

/* Between messages, or in the middle of one that goes on. */
static bool is_going_on(const struct stream *s)
{
    return !s->whole && (s->left == 0 || s->rest == REST_FORWARD);
}

/* Of what begins behind the message under way. A result has only one of the two. */
static char row_type(struct span input, size_t left)
{
    return left < input.size && input.data[left] == 'd' ? 'd' : 'D';
}

size_t stream_pass_copy_data(struct stream *s, struct session *session, struct link *link, struct span input,
                             size_t limit)
{
    size_t left = s->left;
    if (!is_going_on(s) || !session_passes_copy_data(session))
        return 0;
    size_t size = frame_data_size(frontend_messages, input, 'd', limit, &left);
    if (size == 0 || (link != NULL && !link_pass_copy_data(link, s->left, left)))
        return 0;
    *s = (struct stream){ .left = left, .rest = REST_FORWARD };
    return size;
}

size_t stream_pass_rows(struct stream *s, struct session *session, struct link *link, struct span input, size_t limit)
{
    size_t left = s->left;
    if (!is_going_on(s) || !session_passes_rows(session))
        return 0;
    size_t size = frame_data_size(backend_messages, input, row_type(input, left), limit, &left);
    if (size == 0 || (link != NULL && !link_pass_rows(link, s->left, left)))
        return 0;
    *s = (struct stream){ .left = left, .rest = REST_FORWARD };
    return size;
}
