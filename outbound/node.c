/*
 * node.c - one entry of a profile -> one node
 *
 *   table of the type ──► parts it shares with others ──► what every node has ──► init of the type
 *
 * Three ends: it can be dialled; it is right, yet this build cannot dial it (it stays in its groups, with the reason); it makes no sense (a
 * warning, and no group has it). What readers say is collected first, because the node's name belongs in front of it.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "outbound/options.h"
#include "outbound/private.h"

const char *out_quote(const char *name, char buf[OUT_NAME_MAX])
{
    return log_safe(name, strlen(name), buf, OUT_NAME_MAX);
}

static int set_why(struct outbound *o, const char *text)
{
    o->why = arena_strdup(&o->set->arena, text, strlen(text));
    if (!o->why)
        o->why = "it cannot be used"; /* no memory for the reason */
    return -ERR_UNSUPPORTED;
}

int out_unsupported(struct outbound *o, const char *fmt, ...)
{
    char why[256];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(why, sizeof(why), fmt, ap);
    va_end(ap);
    return set_why(o, why);
}

/* ---- what any node may say and this build does not do ---- */

static void say_what_is_ignored(const struct opt_common *c, const struct opt_src *s)
{
    if (c->smux.enabled)
        opt_warn(s, "smux", "unsupported-key", "smux is not supported: every flow has a connection of its own");
}

/* By which way packets leave this machine is for its owner to say; entries of a provider have been seen to (provider.c). */
static bool may_say_way(const struct outbound *o, const struct opt_src *s, const char *key)
{
    const struct cfg_node *n = opt_find(s, key);

    if (!n || o->provider || cfg_is_own(o->set->profile, n->column))
        return true;
    opt_warn(s, key, "locked-key", "%s may not be set by a fetched profile and is ignored; if you want it, write the entry into a file of your own", key);
    return false;
}

/* ---- reading ---- */

static int read_options(struct outbound *o, const struct opt_src *s, struct opt_common *c)
{
    const struct outbound_ops *ops = o->ops;
    int r = ops->fields ? opt_fields(s, ops->fields, o) : 0, more;

    for (const struct opt_part *p = ops->parts; p && p->read; p++)
        if ((more = p->read((char *)o + p->off, s)) < 0)
            r = more;
    if ((more = opt_common(c, s)) < 0)
        r = more;
    return r;
}

static int read_node(struct outbound *o, const struct opt_src *s)
{
    struct opt_common c = { 0 };
    int r = read_options(o, s, &c);

    if (r < 0)
        return r;
    o->family = (uint8_t)c.family;
    o->dialer = c.dialer_proxy;
    o->interface = may_say_way(o, s, "interface-name") ? c.interface_name : NULL;
    o->mark = may_say_way(o, s, "routing-mark") ? (uint32_t)c.routing_mark : 0;
    o->tfo = c.tfo;
    o->mptcp = c.mptcp;
    say_what_is_ignored(&c, s);
    if (o->ops->init && (r = o->ops->init(o, s)) < 0)
        return r;
    o->ready = true;
    if (!o->ops->dial)
        return out_unsupported(o, "this build does not speak %s", o->ops->type);
    return 0;
}

const struct cfg_node *out_place(const struct cfg_node *entry, const struct cfg_node *value)
{
    if (cfg_source(value->column) != cfg_source(entry->column))
        return value; /* the other file's word on it */
    if (value->line != entry->line)
        return value->line < entry->line ? entry : value;
    return value->column < entry->column ? entry : value;
}

void out_tell(const struct diag *mine, const char *kind, const char *name, const struct cfg_node *entry, const char *path, const char *error_end,
              struct diag *d)
{
    char shown[OUT_NAME_MAX];

    out_quote(name, shown);
    for (size_t i = 0; i < mine->n; i++) {
        const struct diag_item *it = &mine->items[i];
        struct cfg_node value = { .line = it->line, .column = diag_column(it) };
        const struct cfg_node *at = out_place(entry, &value);

        diag_warn(d, at->line, at->column, path, it->code, "%s \"%s\": %s%s", kind, shown, it->message, it->level == DIAG_ERROR ? error_end : "");
    }
}

static const char *first_error(const struct diag *d)
{
    for (size_t i = 0; i < d->n; i++)
        if (d->items[i].level == DIAG_ERROR)
            return d->items[i].message;
    return "its entry in the profile cannot be used";
}

int node_read(struct outbound *o, const char *path, struct diag *d)
{
    struct opt_src s = { .doc = o->set->profile->doc, .map = o->node, .path = path };
    char name[OUT_NAME_MAX];
    struct diag mine;
    int r;

    diag_init_part(&mine, d);
    s.d = &mine;
    r = read_node(o, &s);
    out_tell(&mine, "proxy", o->name, o->node, path, "; the entry is skipped", d);
    if (r == -ERR_UNSUPPORTED) {
        diag_warn(d, o->node->line, o->node->column, path, "unsupported-proxy", "proxy \"%s\" (%s) cannot be dialled: %s",
                  out_quote(o->name, name), o->ops->type, o->why);
        r = 0;
    } else if (r < 0) {
        set_why(o, first_error(&mine));
    }
    diag_fini(&mine);
    return r == -ENOMEM ? r : r < 0 ? -EINVAL : 0;
}
