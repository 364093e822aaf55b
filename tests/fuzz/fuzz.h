/*
 * fuzz.h - what a fuzz target looks like
 *
 * One file per parser of foreign bytes. The target must neither crash, leak, nor take long on any input; what it finds becomes a file in
 * corpus/NAME, named after what was seen.
 */
#ifndef FUZZ_FUZZ_H
#define FUZZ_FUZZ_H

#include <stddef.h>
#include <stdint.h>

/* Called once before the first input; optional. */
int LLVMFuzzerInitialize(int *argc, char ***argv);
/* Runs one input. Always returns 0. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#endif
