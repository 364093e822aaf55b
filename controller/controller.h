/*
 * controller.h - the Clash control API, on a Unix socket always and on external-controller if the profile says so
 *
 * Reference: controller-api; where it is looser than reliability section 3 (Host, Origin, secret, bind address), the latter decides.
 */
#ifndef CONTROLLER_CONTROLLER_H
#define CONTROLLER_CONTROLLER_H

#include <jansson.h>

#include "engine/engine.h"

struct ctl;

/* The answer of `explain` as command-line.md fixes it; the caller's. */
json_t *json_explain(const struct explain *x);

/* Opens STATE_DIR/shunt.sock (mode 0600; an old one is replaced) and the profile's external-controller. A TCP address that cannot be had is logged and left
 * out; only a missing Unix socket is an error. 0 or -err; *out is NULL on error. */
int ctl_open(struct engine *e, const char *state_dir, struct ctl **out);
/* After a reload: secret, origins and address anew. NULL-safe, as is ctl_close. */
void ctl_reconfigure(struct ctl *c);
void ctl_close(struct ctl *c);

#endif
