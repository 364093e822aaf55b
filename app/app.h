/*
 * app.h - the verbs, and what they share
 */
#ifndef APP_APP_H
#define APP_APP_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "configs/config.h"

/* Exit statuses (fixed: scripts rely on them). */
enum { EXIT_DONE = 0, EXIT_NOT_SO = 1, EXIT_USAGE = 2, EXIT_NOT_RUNNING = 3, EXIT_NOT_PERMITTED = 4 };

/* Options that many verbs know. */
struct options {
    const char *verb;
    const char *profile;     /* -f; NULL = not given */
    const char *local;       /* --local; NULL = not given */
    const char *state_dir;   /* -d, or the default */
    const char *controller, *secret;
    const char *src, *process, *in;
    long long uid;           /* -1 = not given */
    bool foreign;            /* the profile was fetched: its locked keys are ignored */
    bool json, strict, udp, batch, follow, closed;
    int argc;                /* what is left behind the options */
    char **argv;
};

struct verb {
    const char *name, *usage, *help;
    const char *options;     /* letters and words it takes: see main.c */
    int max;                 /* so many arguments behind the options at most */
    int (*run)(const struct options *o);
};

int cmd_run(const struct options *o);
int cmd_worker(const struct options *o);
int cmd_check(const struct options *o);
int cmd_explain(const struct options *o);
int cmd_mode(const struct options *o);
int cmd_groups(const struct options *o);
int cmd_use(const struct options *o);
int cmd_delay(const struct options *o);
int cmd_flows(const struct options *o);
int cmd_dns(const struct options *o);
int cmd_provider(const struct options *o);
int cmd_reload(const struct options *o);
int cmd_status(const struct options *o);
int cmd_cleanup(const struct options *o);

#define DEFAULT_PROFILE "/etc/shunt/profile.yaml"
#define DEFAULT_LOCAL   "/etc/shunt/local.yaml"

/* input.c: the profile and the local file that the options name, as bytes. bytes of local are NULL when there is none. */
struct inputs { struct cfg_input profile, local; };
/* name: the profile, "-" = standard input. False with a message on stderr; else inputs_fini() frees. */
bool inputs_read(const struct options *o, const char *name, struct inputs *in);
void inputs_fini(struct inputs *in);
/* For policy_load(): NULL when there is no local file. */
const struct cfg_input *inputs_local(const struct inputs *in);
/* Colours? A terminal and no NO_COLOR. */
bool coloured(int fd);
/* "3.1K" */
const char *human_bytes(double n, char buf[16]);
/* Prints text padded to `width` columns (wide characters count two), cut when longer. */
void print_cell(const char *text, int width);

/* client.c: one request to a running shunt. status: HTTP status, 0 when not reachable (said on stderr). The JSON answer (or NULL) is the caller's. */
json_t *api(const struct options *o, const char *method, const char *path, json_t *body, int *status);
/* The same for what takes its time: downloads. */
json_t *api_patient(const struct options *o, const char *method, const char *path, json_t *body, int *status);
/* For what an API answer other than 2xx means: prints its message; the exit status. */
int api_failed(int status, json_t *answer);
/* Percent-encodes one path segment; malloc'ed. */
char *path_segment(const char *s);

#endif
