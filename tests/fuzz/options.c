// SPDX-License-Identifier: MIT
/*
 * options.c - the command line of `hmmu torture` (tools/torture/options.c): any words,
 * separated by zero bytes or lines. What is accepted lies in the ranges that --help names.
 */
#include "fuzz.h"

#include <getopt.h>

#include "torture.h"

#include "hmmu.h"

#define WORDS 16

double torture_now(void)
{
	return 0;
}

static bool none(const bool *set, size_t n)
{
	while (n)
		if (set[--n])
			return false;
	return true;
}

static void check(const struct options *o)
{
	FUZZ_CHECK(o->threads >= 1 && o->threads <= MAX_DEVICES);
	FUZZ_CHECK(o->seconds > 0 && o->seconds <= 86400);
	FUZZ_CHECK(o->seed <= 1ULL << 53);
	FUZZ_CHECK(!none(o->ops, NR_OPS) && !none(o->memories, NR_MEMORIES));
	FUZZ_CHECK(o->explicit_source == (o->source == HMMU_SOURCE_EXPLICIT));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static FILE *nowhere;
	FILE *out = stdout, *err = stderr;
	char *text = malloc(size + 1), *argv[WORDS + 1] = {"torture"};
	int argc = 1, status = -1, ret;
	struct options o;

	if (!nowhere)
		nowhere = fopen("/dev/null", "w");
	memcpy(text, data, size);
	text[size] = '\0';
	for (char *at = text; at < text + size && argc < WORDS; at += strlen(at) + 1) {
		char *end = strchr(at, '\n');

		if (end)
			*end = '\0';
		argv[argc++] = at;
	}
	argv[argc] = NULL;
	optind = 0; /* begins anew */
	stdout = stderr = nowhere;
	ret = options_parse(&o, argc, argv, &status);
	stdout = out;
	stderr = err;
	if (!ret)
		check(&o);
	else
		FUZZ_CHECK(ret == -1 && status >= HMMU_EXIT_OK && status <= HMMU_EXIT_USAGE);
	free(text);
	return 0;
}
