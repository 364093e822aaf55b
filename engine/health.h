/*
 * health.h - delay tests of many: on demand, and in rounds that go on by themselves
 */
#ifndef ENGINE_HEALTH_H
#define ENGINE_HEALTH_H

#include "engine/engine.h"

struct health;

/* Rounds for the groups and providers of the policy in use; the first one soon, the others each after its interval. 0 or -ENOMEM. */
int health_begin(struct engine *e);
/* No more of them; what is under way is given up. Harmless when there are none. */
void health_end(struct engine *e);

/* A dial by these outbounds (a flow's chain) failed, or not (0): a group whose ways fail is tested soon. */
void health_note_dial(struct engine *e, struct outbound *const *chain, int n, int err);

#endif
