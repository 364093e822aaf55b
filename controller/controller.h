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

/* A message about a profile as `check --json` has it (D in command-line.md); the caller's. One about the local file names it. */
json_t *json_diag(const struct diag *d, const struct diag_item *it);
/* All of one level, in order; the caller's. */
json_t *json_diags(const struct diag *d, enum diag_level level);

/* Opens STATE_DIR/shunt.sock (mode 0600; an old one is replaced) and the profile's external-controller. One that cannot be had is logged and left
 * out. 0 or -ENOMEM; *out is NULL on error. */
int ctl_open(struct engine *e, const char *state_dir, struct ctl **out);
/* After a reload: secret, origins and address anew. While secret and address stay, whoever is connected stays, too. NULL-safe, as is ctl_close. */
void ctl_reconfigure(struct ctl *c);
void ctl_close(struct ctl *c);
/* What came of the files that the supervisor read again, for those who asked for it here: d says why they were refused, why that they could not be
 * read; both NULL: they are in use. To be called before ctl_reconfigure(). NULL-safe. */
void ctl_reloaded(struct ctl *c, const struct diag *d, const char *why);

#endif
