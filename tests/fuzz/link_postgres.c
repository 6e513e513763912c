#include "tests/fuzz/link_postgres.h"

#include "protocol/message.h"
#include "tests/fuzz/fuzz.h"

const char *const setting_names[SETTINGS] = { "a.x", "a.y", "application_name" };

/* The tables are those of all servers. */
static unsigned column_type;

void small_postgres_alter(unsigned type)
{
    column_type = type;
}

unsigned small_postgres_type(void)
{
    return column_type;
}

/* --- names ----------------------------------------------------------------------------------------- */

static char *copy_text(struct span s)
{
    char *copy = malloc(s.size + 1);
    MUST(copy);
    if (s.size > 0)
        memcpy(copy, s.data, s.size);
    copy[s.size] = '\0';
    return copy;
}

static struct named *find_named(struct small_postgres *v, struct span name, bool portal)
{
    for (size_t i = 0; i < v->name_count; i++)
        if (v->names[i].portal == portal && span_is(name, v->names[i].name))
            return &v->names[i];
    return NULL;
}

static void drop_named(struct small_postgres *v, struct named *n)
{
    free(n->name);
    free(n->text);
    *n = v->names[--v->name_count];
}

static void drop_all_named(struct small_postgres *v, bool portals_only)
{
    for (size_t i = v->name_count; i-- > 0;)
        if (!portals_only || v->names[i].portal)
            drop_named(v, &v->names[i]);
}

/* False: there is one of that name, or no room. The unnamed one is replaced. */
static bool add_named(struct small_postgres *v, struct span name, struct span text, bool portal)
{
    struct named *known = find_named(v, name, portal);
    if (known && name.size > 0)
        return false;
    struct named made = { .name = copy_text(name), .text = copy_text(text), .portal = portal, .type = column_type };
    if (known)
        drop_named(v, known);
    MUST(v->name_count < NAMES_MAX);
    v->names[v->name_count++] = made;
    return true;
}

/* --- replies ----------------------------------------------------------------------------------------- */

static unsigned choose(struct small_postgres *v)
{
    if (v->choices.size == 0)
        return 0;
    unsigned choice = (unsigned char)v->choices.data[0];
    v->choices = span_make(v->choices.data + 1, v->choices.size - 1);
    return choice;
}

static void say_error(struct small_postgres *v, const char *sqlstate)
{
    message_add_error(&v->output, &(struct message_fault){ "ERROR", sqlstate, span_of("no"), { 0 }, { 0 } });
    v->flushed = v->output.size;
}

static void say_ready(struct small_postgres *v)
{
    const char *value = v->now.value[REPORTED];
    if (strcmp(value, v->told.value[REPORTED]) != 0)
        message_add_parameter_status(&v->output, span_of(setting_names[REPORTED]), span_of(value));
    v->told = v->now;
    if (v->status == 'I') {
        v->before = v->now;
        drop_all_named(v, true);
    }
    message_add_ready(&v->output, v->status);
    v->flushed = v->output.size;
    v->in_query = v->skipping = false;
}

static bool fail_silently(struct small_postgres *v)
{
    if (v->status == 'I')
        v->now = v->before;
    else
        v->status = 'E';
    if (v->in_query)
        say_ready(v);
    else
        v->skipping = true;
    return false;
}

static bool fail(struct small_postgres *v, const char *sqlstate)
{
    say_error(v, sqlstate);
    return fail_silently(v);
}

static bool has_column(const struct named *n)
{
    return strcmp(n->text, "SELECT 1") == 0;
}

/* The column is not what it was when the statement was prepared: it cannot be used any more. */
static bool is_outdated(const struct named *n)
{
    return !n->portal && has_column(n) && n->type != column_type;
}

static bool fail_outdated(struct small_postgres *v)
{
    struct buffer plain = { 0 };
    struct frame f;
    message_add_error(&plain, &(struct message_fault){ "ERROR", "0A000", span_of("no"), { 0 }, { 0 } });
    MUST(frame_next_whole(backend_messages, buffer_span(&plain), INT32_MAX, &f, NULL) == FRAME_OK);
    message_add_error_with(&v->output, &f, 'R', span_of("RevalidateCachedQuery"));
    buffer_free(&plain);
    v->flushed = v->output.size;
    return fail_silently(v);
}

static bool complete(struct small_postgres *v, const char *tag)
{
    message_add_command_complete(&v->output, span_of(tag));
    return true;
}

/* --- statements -------------------------------------------------------------------------------------- */

static bool starts(struct span text, const char *words)
{
    size_t size = strlen(words);
    return text.size >= size && memcmp(text.data, words, size) == 0;
}

static struct span behind(struct span text, size_t size)
{
    return span_make(text.data + size, text.size - size);
}

/* The next word or literal, without its quotes; those inside a name go as well. False: there is none. */
static bool next_word(struct span *text, char word[VALUE_SIZE * 2])
{
    static const char between[] = " =(),;E";
    size_t size = 0;
    while (text->size > 0 && strchr(between, text->data[0]) != NULL && text->data[0] != '\0')
        *text = behind(*text, 1);
    bool literal = text->size > 0 && text->data[0] == '\'';
    if (literal)
        *text = behind(*text, 1);
    bool any = literal || text->size > 0;
    for (; text->size > 0; *text = behind(*text, 1)) {
        char c = text->data[0];
        if (literal ? c == '\'' : strchr(" =(),;", c) != NULL)
            break;
        if (c != '"' && size + 1 < VALUE_SIZE * 2)
            word[size++] = c;
    }
    if (literal && text->size > 0)
        *text = behind(*text, 1);
    word[size] = '\0';
    return any;
}

static void set(struct small_postgres *v, const char *name, const char *value)
{
    for (size_t i = 0; i < SETTINGS; i++) {
        if (strcmp(name, setting_names[i]) != 0)
            continue;
        snprintf(v->now.value[i], VALUE_SIZE, "%s", value);
        v->ever_set[i] |= value[0] != '\0';
    }
}

static bool run_set(struct small_postgres *v, struct span text)
{
    char name[VALUE_SIZE * 2], value[VALUE_SIZE * 2] = "";
    if (next_word(&text, name))
        next_word(&text, value);
    if (strcmp(name, "SESSION") == 0)
        v->now.dirty = true;
    set(v, name, value);
    return complete(v, "SET");
}

static bool run_reset(struct small_postgres *v, struct span text)
{
    char name[VALUE_SIZE * 2];
    next_word(&text, name);
    for (size_t i = 0; i < SETTINGS; i++)
        if (strcmp(name, "ALL") == 0 || strcmp(name, setting_names[i]) == 0)
            v->now.value[i][0] = '\0';
    return complete(v, "RESET");
}

/* SELECT pg_catalog.set_config('a', 'b', false), … */
static bool run_set_config(struct small_postgres *v, struct span text)
{
    char function[VALUE_SIZE * 2], name[VALUE_SIZE * 2], value[VALUE_SIZE * 2], local[VALUE_SIZE * 2];
    while (next_word(&text, function) && next_word(&text, name) && next_word(&text, value) && next_word(&text, local))
        set(v, name, value);
    return complete(v, "SELECT 1");
}

static void add_column(struct small_postgres *v, struct buffer *row, const char *name)
{
    for (size_t i = 0; i < SETTINGS; i++) {
        const char *value = v->now.value[i];
        if (strcmp(name, setting_names[i]) != 0 || (i != REPORTED && !v->ever_set[i]))
            continue;
        buffer_append_u32(row, (uint32_t)strlen(value));
        buffer_append_text(row, value);
        return;
    }
    buffer_append_u32(row, UINT32_MAX);
}

static bool is_default(const struct small_postgres *v, const char *name)
{
    for (size_t i = 0; i < SETTINGS; i++)
        if (strcmp(name, setting_names[i]) == 0)
            return v->now.value[i][0] == '\0';
    return true;
}

/* SELECT pg_catalog.current_setting('a', true), CASE WHEN … THEN NULL ELSE pg_catalog.current_setting('b', true) END, … FROM … Behind the
 * WHEN stands that nothing in the session has set it. */
static bool run_current_setting(struct small_postgres *v, struct span text)
{
    static const char otherwise[] = "ELSE ";
    char function[VALUE_SIZE * 2], name[VALUE_SIZE * 2], missing[VALUE_SIZE * 2];
    struct buffer columns = { 0 };
    uint16_t count = 0;
    for (; next_word(&text, function) && strcmp(function, "FROM") != 0; count++) {
        bool chooses = strcmp(function, "CASE") == 0;
        const char *value = chooses ? memmem(text.data, text.size, otherwise, sizeof otherwise - 1) : NULL;
        if (value != NULL) {
            text = behind(text, (size_t)(value - text.data) + sizeof otherwise - 1);
            next_word(&text, function);
        }
        next_word(&text, name);
        next_word(&text, missing);
        if (chooses)
            next_word(&text, function); /* END */
        add_column(v, &columns, chooses && is_default(v, name) ? "" : name);
    }
    message_add_row_description(&v->output, span_of("c"), 25, -1, 0);
    buffer_append_u8(&v->output, 'D');
    buffer_append_u32(&v->output, (uint32_t)columns.size + 6);
    buffer_append_u16(&v->output, count);
    buffer_append_span(&v->output, buffer_span(&columns));
    buffer_free(&columns);
    return complete(v, "SELECT 1");
}

static bool run_prepare(struct small_postgres *v, struct span text)
{
    char name[VALUE_SIZE * 2];
    next_word(&text, name);
    return add_named(v, span_of(name), span_of("SELECT 1"), false) ? complete(v, "PREPARE") : fail(v, "42P05");
}

static bool run_execute(struct small_postgres *v, struct span text)
{
    char name[VALUE_SIZE * 2];
    next_word(&text, name);
    return find_named(v, span_of(name), false) ? complete(v, "SELECT 1") : fail(v, "26000");
}

static bool run_deallocate(struct small_postgres *v, struct span text)
{
    char name[VALUE_SIZE * 2];
    next_word(&text, name);
    struct named *known = find_named(v, span_of(name), false);
    if (strcmp(name, "ALL") == 0) {
        for (size_t i = v->name_count; i-- > 0;)
            if (!v->names[i].portal)
                drop_named(v, &v->names[i]);
        return complete(v, "DEALLOCATE ALL");
    }
    if (!known)
        return fail(v, "26000");
    drop_named(v, known);
    return complete(v, "DEALLOCATE");
}

static bool run_discard_all(struct small_postgres *v)
{
    if (v->status != 'I' || !v->alone)
        return fail(v, "25001");
    small_postgres_discard(v);
    return complete(v, "DISCARD ALL");
}

static bool run_end(struct small_postgres *v, bool commits, bool fails)
{
    bool undone = !commits || fails || v->status == 'E';
    if (undone)
        v->now = v->before;
    v->before = v->now;
    v->status = 'I';
    return fails ? fail(v, "40001") : complete(v, undone ? "ROLLBACK" : "COMMIT");
}

static bool run_listen(struct small_postgres *v, bool listens)
{
    v->now.listens = listens;
    return complete(v, listens ? "LISTEN" : "UNLISTEN");
}

static bool run_channels(struct small_postgres *v)
{
    message_add_row_description(&v->output, span_of("c"), 25, -1, 0);
    if (v->now.listens)
        message_add_data_row(&v->output, span_of("news"));
    return complete(v, "SELECT 1");
}

static bool run_copy(struct small_postgres *v)
{
    buffer_append(&v->output, "G\0\0\0\7\0\0\0", 8);
    v->flushed = v->output.size;
    v->copy_in = true;
    return false;
}

static bool run_begin(struct small_postgres *v)
{
    v->status = 'T';
    return complete(v, "BEGIN");
}

/* What nobody's bad luck befalls: the link may count on it. */
static bool is_sure(struct span text)
{
    static const char *const sure[] = {
        "SELECT pg_catalog.", "SELECT (SELECT pg_catalog.", "RESET", "UNLISTEN", "ROLLBACK", "DISCARD"
    };
    for (size_t i = 0; i < sizeof sure / sizeof sure[0]; i++)
        if (starts(text, sure[i]))
            return true;
    return false;
}

/* True: it is answered, and did not fail. */
static bool run(struct small_postgres *v, struct span text)
{
    bool commits = starts(text, "COMMIT"), back = starts(text, "ROLLBACK TO");
    bool ends = commits || (starts(text, "ROLLBACK") && !back);
    bool unlucky = choose(v) % 16 == 1 && !v->lucky && !is_sure(text);
    if (ends)
        return run_end(v, commits, unlucky);
    if (back) {
        v->status = v->status == 'I' ? 'I' : 'T';
        return complete(v, "ROLLBACK");
    }
    if (unlucky || v->status == 'E' || starts(text, "FAIL"))
        return fail(v, v->status == 'E' ? "25P02" : "42601");
    static const char set_config[] = "SELECT pg_catalog.set_config", current[] = "SELECT pg_catalog.current_setting";
    if (starts(text, "BEGIN"))
        return run_begin(v);
    if (starts(text, "SET "))
        return run_set(v, behind(text, 4));
    if (starts(text, "RESET "))
        return run_reset(v, behind(text, 6));
    if (starts(text, set_config))
        return run_set_config(v, behind(text, 7));
    if (starts(text, current) || starts(text, "SELECT CASE WHEN "))
        return run_current_setting(v, behind(text, 7));
    if (starts(text, "SELECT pg_catalog.pg_listening_channels"))
        return run_channels(v);
    if (starts(text, "PREPARE "))
        return run_prepare(v, behind(text, 8));
    if (starts(text, "EXECUTE "))
        return run_execute(v, behind(text, 8));
    if (starts(text, "DEALLOCATE "))
        return run_deallocate(v, behind(text, 11));
    if (starts(text, "DISCARD ALL"))
        return run_discard_all(v);
    if (starts(text, "LISTEN") || starts(text, "UNLISTEN"))
        return run_listen(v, text.data[0] == 'L');
    if (starts(text, "COPY"))
        return run_copy(v);
    v->now.dirty |= starts(text, "CREATE TEMP");
    return complete(v, "SELECT 1");
}

/* --- messages ---------------------------------------------------------------------------------------- */

/* Cuts the next statement off what is left of the string. */
static bool cut_statement(struct buffer *query, struct buffer *out)
{
    size_t from = 0, to;
    while (from < query->size && (query->data[from] == ' ' || query->data[from] == ';'))
        from++;
    for (to = from; to < query->size && query->data[to] != ';';)
        to++;
    buffer_clear(out);
    if (to > from)
        buffer_append(out, query->data + from, to - from);
    buffer_consume(query, to);
    return out->size > 0;
}

static void drop_unnamed(struct small_postgres *v, bool portal)
{
    struct named *known = find_named(v, (struct span){ 0 }, portal);
    if (known)
        drop_named(v, known);
}

static void go_on_with_query(struct small_postgres *v)
{
    struct buffer statement = { 0 };
    bool goes_on = true;
    while (v->in_query && goes_on && cut_statement(&v->query, &statement)) {
        drop_unnamed(v, true); /* its place is taken by the statement's own */
        goes_on = run(v, buffer_span(&statement));
    }
    buffer_free(&statement);
    if (v->in_query && goes_on)
        say_ready(v);
}

static void read_query(struct small_postgres *v, struct span body)
{
    struct span text;
    v->in_query = true;
    drop_unnamed(v, false);
    if (!message_read_query(body, &text)) {
        fail(v, "08P01");
        return;
    }
    buffer_clear(&v->query);
    buffer_append_span(&v->query, text);
    v->alone = memchr(text.data, ';', text.size) == NULL;
    v->lucky = starts(text, "BEGIN;RESET") || starts(text, "BEGIN;SELECT pg_catalog."); /* the link's own: settings */
    if (text.size == 0)
        message_add_empty(&v->output, 'I');
    go_on_with_query(v);
}

static bool read_parse(struct small_postgres *v, struct span body)
{
    struct message_parse m;
    if (!message_read_parse(body, &m))
        return fail(v, "08P01");
    if (choose(v) % 16 == 1 || starts(m.text, "FAIL PARSE"))
        return fail(v, "42601");
    if (!add_named(v, m.name, m.text, false))
        return fail(v, "42P05");
    message_add_empty(&v->output, '1');
    return true;
}

static bool read_bind(struct small_postgres *v, struct span body)
{
    struct message_bind m;
    if (!message_read_bind(body, &m))
        return fail(v, "08P01");
    struct named *s = find_named(v, m.statement, false);
    if (!s)
        return fail(v, "26000");
    if (is_outdated(s))
        return fail_outdated(v);
    char *text = copy_text(span_of(s->text));
    bool added = add_named(v, m.portal, span_of(text), true);
    free(text);
    if (!added)
        return fail(v, "42P03");
    message_add_empty(&v->output, '2');
    return true;
}

static bool read_execute(struct small_postgres *v, struct span body)
{
    struct message_execute m;
    struct named *p = message_read_execute(body, &m) ? find_named(v, m.portal, true) : NULL;
    if (!p)
        return fail(v, "34000");
    bool has_rows = starts(span_of(p->text), "SELECT") || starts(span_of(p->text), "EXECUTE");
    if (p->has_run && !has_rows)
        return fail(v, "55000");
    p->has_run = true;
    if (has_column(p) && v->status != 'E') {
        char type[2] = { (char)('0' + p->type % 10) };
        message_add_data_row(&v->output, span_of(type));
    }
    char *text = copy_text(span_of(p->text));
    v->alone = true;
    v->lucky = false;
    bool ran = run(v, span_of(text));
    free(text);
    return ran;
}

static bool read_describe(struct small_postgres *v, struct span body)
{
    static const uint32_t none[1];
    struct message_named m;
    if (!message_read_named(body, &m))
        return fail(v, "08P01");
    struct named *n = find_named(v, m.name, m.kind == 'P');
    if (!n)
        return fail(v, m.kind == 'P' ? "34000" : "26000");
    if (is_outdated(n))
        return fail_outdated(v);
    if (m.kind == 'S')
        message_add_parameter_description(&v->output, none, 0);
    if (has_column(n))
        message_add_row_description(&v->output, span_of("c"), n->type, -1, 0);
    else
        message_add_empty(&v->output, 'n');
    return true;
}

static bool read_close(struct small_postgres *v, struct span body)
{
    struct message_named m;
    if (!message_read_named(body, &m))
        return fail(v, "08P01");
    struct named *known = find_named(v, m.name, m.kind == 'P');
    if (known)
        drop_named(v, known);
    message_add_empty(&v->output, '3');
    return true;
}

static void read_in_copy(struct small_postgres *v, char type)
{
    bool bad_line = type == 'd' && choose(v) % 4 == 1;
    if (!bad_line && (type == 'd' || type == 'S' || type == 'H'))
        return;
    v->copy_in = false;
    if (type != 'c') {
        fail(v, bad_line ? "22P04" : type == 'f' ? "57014" : "08P01");
        return;
    }
    complete(v, "COPY 1");
    if (v->in_query)
        go_on_with_query(v);
}

static void read_message(struct small_postgres *v, const struct frame *f)
{
    struct span body = frame_body(f);
    if (v->copy_in) {
        read_in_copy(v, f->type);
        return;
    }
    if (v->skipping && f->type != 'S')
        return;
    switch (f->type) {
    case 'S':
        say_ready(v);
        return;
    case 'Q':
        read_query(v, body);
        return;
    case 'F':
        buffer_append(&v->output, "V\0\0\0\10\377\377\377\377", 9);
        say_ready(v);
        return;
    case 'H':
        v->flushed = v->output.size;
        return;
    case 'P':
        read_parse(v, body);
        return;
    case 'B':
        read_bind(v, body);
        return;
    case 'D':
        read_describe(v, body);
        return;
    case 'E':
        read_execute(v, body);
        return;
    case 'C':
        read_close(v, body);
        return;
    default: /* the data of a COPY that has failed */
        return;
    }
}

void small_postgres_answer(struct small_postgres *v, struct span choices)
{
    struct frame f;
    enum frame_result result;
    v->choices = choices;
    while ((result = frame_next_whole(frontend_messages, buffer_span(&v->unread), INT32_MAX, &f, NULL)) == FRAME_OK) {
        char *copy = copy_text(f.bytes);
        f.bytes = span_make(copy, f.bytes.size);
        buffer_consume(&v->unread, f.bytes.size);
        read_message(v, &f);
        free(copy);
    }
    MUST(result == FRAME_MORE);
}

void small_postgres_init(struct small_postgres *v)
{
    *v = (struct small_postgres){ .status = 'I' };
}

void small_postgres_reset(struct small_postgres *v)
{
    drop_all_named(v, false);
    buffer_free(&v->unread);
    buffer_free(&v->output);
    buffer_free(&v->query);
    small_postgres_init(v);
}

bool small_postgres_is_idle(const struct small_postgres *v)
{
    return v->unread.size == 0 && v->output.size == 0 && !v->in_query && !v->copy_in && !v->skipping &&
           v->status == 'I';
}

void small_postgres_discard(struct small_postgres *v)
{
    v->now = v->before = (struct session_state){ 0 };
    drop_all_named(v, false);
}
