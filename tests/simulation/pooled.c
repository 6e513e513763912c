#include "tests/simulation/pooled.h"

#include <stdlib.h>

#include "protocol/message.h"
#include "tests/simulation/block.h"

void pooled_know_settings(struct backend *model)
{
    struct buffer words = { 0 };
    message_add_query(&words, span_of("RESET my.a; RESET my.b"));
    backend_receive(model, buffer_span(&words));
    buffer_free(&words);
    buffer_clear(&model->output);
    model->must_be_out = 0;
}

void pooled_open(struct pooled *p, struct committed *kept, uint64_t seed)
{
    *p = (struct pooled){
        .chance = { seed }, .sleepy = seed % 4 == 1, .statements = statements_new(), .nothing = parameters_none()
    };
    struct link_start start = { .statements = p->statements, .base = p->nothing };
    start.prepares_unnamed = p->prepares_unnamed = chance_percent(&p->chance, 30);
    p->link = link_new(&start);
    start.prepares_unnamed = false;
    p->neighbour = link_new(&start);
    for (unsigned i = 0; i < POOLED_SERVERS; i++) {
        p->servers[i] = (struct pooled_server){ link_server_new(), block_new(kept) };
        pooled_know_settings(p->servers[i].model);
    }
}

void pooled_close(struct pooled *p)
{
    if (p->at != NULL)
        link_detach(p->link);
    link_free(p->link);
    link_free(p->neighbour);
    for (unsigned i = 0; i < POOLED_SERVERS; i++) {
        link_server_free(p->servers[i].server);
        block_free(p->servers[i].model);
    }
    parameters_release(p->nothing);
    statements_free(p->statements);
    actions_free(&p->actions);
    buffer_free(&p->to_model);
    buffer_free(&p->input);
}

/* --- the neighbour ----------------------------------------------------------------------------------- */

/* What the actions have for a server. */
static void collect(struct pooled *p, struct buffer *out)
{
    for (size_t i = 0; i < p->actions.count; i++)
        buffer_append_span(out, p->actions.list[i].bytes);
    actions_clear(&p->actions);
}

/* Back and forth until the server, of which so much has been heard, has nothing more to say. What the link hands to its session is nobody's. */
static void converse_with(struct pooled *p, struct link *l, struct backend *model, size_t heard)
{
    struct buffer words = { 0 };
    collect(p, &words);
    while (words.size > 0 || heard < model->output.size) {
        backend_receive(model, buffer_span(&words));
        buffer_clear(&words);
        struct buffer input = { 0 };
        buffer_append(&input, model->output.data + heard, model->output.size - heard);
        heard = model->output.size;
        struct link_piece piece;
        while (link_on_server(l, buffer_span(&input), &piece, &p->actions)) {
            buffer_consume(&input, piece.skip);
            if (piece.own)
                continue;
            link_took(l, piece.bytes.size);
            buffer_consume(&input, piece.bytes.size);
        }
        buffer_free(&input);
        collect(p, &words);
    }
    buffer_free(&words);
}

/* Somebody else has used the server. */
static void visit(struct pooled *p, struct pooled_server *s)
{
    static const char *const texts[] = { "SET my.a = 'theirs'",
                                         "SET my.b = '7'",
                                         "RESET my.a",
                                         "SELECT 7",
                                         "SET my.c = 'nobody''s'",
                                         "PREPARE q AS SELECT 8",
                                         "DEALLOCATE ALL",
                                         "DISCARD ALL",
                                         "SELECT set_config('my.b', 'x', false)" };
    static const char *const names[] = { "", "s1", "s2" };
    struct buffer words = { 0 };
    link_attach(p->neighbour, s->server, &p->actions);
    for (unsigned turns = 1 + chance_below(&p->chance, 3); turns > 0; turns--) {
        const char *text = texts[chance_below(&p->chance, sizeof texts / sizeof *texts)];
        const char *name = names[chance_below(&p->chance, 3)];
        if (chance_percent(&p->chance, 40)) {
            message_add_query(&words, span_of(text));
        } else {
            message_add_close(&words, 'S', span_of(name));
            message_add_parse(&words, span_of(name), span_of(text));
            message_add_bind(&words, span_of(""), span_of(name));
            message_add_execute(&words, span_of(""), 0);
            message_add_sync(&words);
        }
        size_t heard = s->model->output.size;
        link_on_client(p->neighbour, buffer_span(&words), &p->actions);
        converse_with(p, p->neighbour, s->model, heard);
        buffer_clear(&words);
    }
    buffer_free(&words);
    if (!link_may_release(p->neighbour))
        abort();
    link_detach(p->neighbour);
}

/* --- the client ---------------------------------------------------------------------------------------- */

static void perform(struct pooled *p)
{
    collect(p, &p->to_model);
}

bool pooled_client_sends(struct pooled *p, struct span bytes)
{
    bool attaches = p->at == NULL;
    if (attaches) {
        p->at = &p->servers[chance_below(&p->chance, POOLED_SERVERS)];
        if (chance_percent(&p->chance, 40))
            visit(p, p->at);
        link_attach(p->link, p->at->server, &p->actions);
    }
    link_on_client(p->link, bytes, &p->actions);
    perform(p);
    return attaches;
}

void pooled_server_sends(struct pooled *p, struct span bytes, struct shell *shell)
{
    struct link_piece piece;
    bool more = true;
    buffer_append_span(&p->input, bytes);
    if (shell_rows_pass(shell, &p->input))
        return;
    while (more) {
        more = link_on_server(p->link, buffer_span(&p->input), &piece, &p->actions);
        buffer_consume(&p->input, piece.skip);
        perform(p);
        if (!more)
            return;
        struct buffer copy = { 0 };
        buffer_append_span(&copy, span_make(piece.own ? piece.bytes.data : p->input.data, piece.bytes.size));
        if (!piece.own) {
            link_took(p->link, copy.size);
            buffer_consume(&p->input, copy.size);
        }
        shell_server_sends(shell, buffer_span(&copy));
        buffer_free(&copy);
    }
}

static void sleep_and_wake(struct pooled *p)
{
    struct link_start start = { .statements = p->statements, .prepares_unnamed = p->prepares_unnamed };
    struct link_asleep asleep;
    link_sleep(p->link, &asleep);
    p->link = link_wake(&asleep, &start);
}

void pooled_rest(struct pooled *p)
{
    if (p->at == NULL || !link_may_release(p->link) || chance_percent(&p->chance, 20))
        return;
    link_detach(p->link);
    p->at = NULL;
    if (p->sleepy && link_may_sleep(p->link))
        sleep_and_wake(p);
}

const char *pooled_end(struct pooled *p, size_t heard)
{
    if (p->at == NULL)
        return NULL;
    struct backend *model = p->at->model;
    if (!link_end(p->link, &p->actions))
        return "the link cannot end";
    converse_with(p, p->link, model, heard);
    if (!link_may_release(p->link))
        return "the server is not given back";
    if (model->rules->status(model) != 'I' || link_server_needs_reset(p->at->server) || model->wait != WAIT_NOTHING)
        return "the server is not clean";
    link_detach(p->link);
    p->at = NULL;
    return NULL;
}
