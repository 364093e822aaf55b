/*
 * helper_resolved.c - the fake systemd-resolved as a program:  helper_resolved LOG [refuse|forget|deaf]
 */
#include "tests/unit/fake_resolved.h"

int main(int argc, char **argv)
{
    FILE *log = argc > 1 ? fopen(argv[1], "a") : NULL;

    if (!log) {
        fprintf(stderr, "usage: %s LOG [refuse|forget|deaf]\n", argv[0]);
        return 2;
    }
    return fake_resolved_run(argc > 2 ? argv[2] : "", log, STDOUT_FILENO);
}
