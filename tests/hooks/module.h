/* SPDX-License-Identifier: MIT */
/* module.h - what module.c exports besides the recorder. */
#ifndef TESTS_MODULE_H
#define TESTS_MODULE_H

#include "recorder.h"

REC_EXPORT int module_open(void);
/* Name, enum hmmu_hook_state and reason of the i-th hook; NULL behind the last. */
REC_EXPORT const char *module_hook(unsigned int i, unsigned int *state, const char **why);

REC_EXPORT bool module_intact(void);

#endif /* TESTS_MODULE_H */
