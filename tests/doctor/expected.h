/* SPDX-License-Identifier: MIT */
/* expected.h - expected.txt, read. */
#ifndef HMMU_TESTS_DOCTOR_EXPECTED_H
#define HMMU_TESTS_DOCTOR_EXPECTED_H

#include <stdbool.h>

bool expected_load(const char *path);
/* Its symbol, or '-': there is no such path. */
char expected(const char *source, const char *op, const char *caller, const char *memory);

#endif /* HMMU_TESTS_DOCTOR_EXPECTED_H */
