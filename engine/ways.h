/*
 * ways.h - how name servers are reached: straight, by a proxy, or as the rules say
 */
#ifndef ENGINE_WAYS_H
#define ENGINE_WAYS_H

#include "core/service.h"

struct engine;
struct policy;
struct dns;
struct diag;

/* The dialer that dns/ gets; lives in the engine. */
struct dialer ways_dialer(void);

/* Says which nodes could not be found because the name of their server is asked for through themselves ("cycle"). */
void ways_check(struct policy *p, const struct dns *dns, struct diag *d);

#endif
