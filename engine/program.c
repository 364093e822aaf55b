/*
 * program.c - the program behind a flow
 *
 *   a rule asks ─► plat_socket: user and inode, at once ─► plat_owner_ask ... name and path from the supervisor ─► the rules again
 *
 * Only sockets of this machine have one. Whatever fails, the flow goes on with what is known: nothing, or the user alone.
 *
 * The answer belongs to the flow and goes with its record.
 */
#include <stdlib.h>
#include <string.h>

#include "engine/private.h"

struct program {
    struct flow_proc proc;
    struct plat_owner owner;
    struct flow *f;
    void (*known)(struct flow *f);
    bool asked; /* an answer is to come */
    char *path;
};

static void on_owner(struct plat_owner *o, const struct plat_program *p)
{
    struct program *x = container_of(o, struct program, owner);

    x->asked = false;
    if (p && (x->path = strdup(p->path))) {
        const char *slash = strrchr(x->path, '/');

        x->proc.path = x->path;
        x->proc.name = slash ? slash + 1 : x->path;
    }
    x->known(x->f);
}

bool flow_ask_program(struct flow *f, void (*known)(struct flow *f))
{
    struct program *x;
    uint64_t inode;
    uid_t uid;

    if (f->program || f->meta.via == FLOW_VIA_INNER || plat_socket(f->meta.net == FLOW_UDP, &f->meta.src, &f->meta.orig, &uid, &inode) < 0)
        return false;
    if (!(x = f->program = calloc(1, sizeof(*x))))
        return false;
    x->f = f;
    x->known = known;
    x->proc.uid = uid;
    x->proc.uid_known = true;
    x->owner.done = on_owner;
    f->meta.proc = &x->proc;
    x->asked = plat_owner_ask(f->eng->worker, &x->owner, uid, inode) == 0;
    return x->asked;
}

void flow_forget_program(struct flow *f)
{
    if (f->program && f->program->asked)
        plat_owner_cancel(&f->program->owner);
    if (f->program)
        f->program->asked = false;
}

void program_free(struct program *x)
{
    if (x)
        free(x->path);
    free(x);
}
