/*
 * route.c - puts a plan of rules and routes in force in the place of another
 *
 *   1 routes that are new   2 rules that are new     now both stand
 *   3 rules that are over   4 routes that are over
 *
 * So there is no moment at which traffic finds neither; removing first and adding then has been seen to let four of five packets out in clear. Start is the switch from
 * the empty plan, the end is the switch to it. A route of the same network and metric replaces the old one in place.
 */
#include <stdio.h>
#include <string.h>

#include "platform/sys.h"

static void remove_over(struct nl *n, int index, const struct plan *old, const struct plan *new)
{
    for (int i = old->n_rules - 1; i >= 0; i--)
        if (!plan_has_rule(new, &old->rules[i]))
            nl_rule_del(n, &old->rules[i]);
    for (uint32_t i = 0; i < old->n_routes; i++)
        if (!plan_has_route(new, &old->routes[i], true))
            nl_route_del(n, &old->routes[i], index);
}

static int add_new(struct nl *n, int index, const struct plan *old, const struct plan *new, char *why)
{
    int r = 0;

    for (uint32_t i = 0; i < new->n_routes && !r; i++)
        if (!plan_has_route(old, &new->routes[i], false))
            r = nl_route_add(n, &new->routes[i], index);
    if (r < 0) {
        snprintf(why, WHY_MAX, "the routes cannot be set: %s", strerror(-r));
        return r;
    }
    for (int i = 0; i < new->n_rules && !r; i++)
        if (!plan_has_rule(old, &new->rules[i]))
            r = nl_rule_add(n, &new->rules[i]);
    if (r < 0)
        snprintf(why, WHY_MAX, "the policy rules cannot be set: %s", strerror(-r));
    return r;
}

int route_switch(struct nl *n, int index, const struct plan *from, const struct plan *to, char *why)
{
    char ignored[WHY_MAX];
    int r = add_new(n, index, from, to, why);

    if (r < 0) {
        add_new(n, index, &(struct plan){ 0 }, from, ignored); /* a route may have been replaced; rules that stand say EEXIST */
        remove_over(n, index, to, from);
        return r;
    }
    remove_over(n, index, from, to);
    return 0;
}
