// SPDX-License-Identifier: MIT
/*
 * test_torture.c - the hmmu command as a user runs it: exit status, what it prints,
 * that its JSON is JSON; each cell; and that it fails when the library is broken.
 * usage: test_torture PART HMMU [PLANTED]
 *
 * How much a run shows depends on how much of the machine it gets. So a run that must
 * show something is repeated with more time until it does; no fixed time is assumed.
 */
#include <cjson/cJSON.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#include "uring_test.h"

#define NO_FILTER 125 /* cannot be set here */

#define ARGS 24
#define LONGEST 16.0 /* seconds; a test that needs this is broken */

static const char *hmmu, *planted;
static unsigned int filter_error; /* 0, or what io_uring_setup answers in the child */

struct result {
	int status;
	char out[1 << 16], err[4096];
	cJSON *json;
};

static struct result r;

static void filter_io_uring(void)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_io_uring_setup, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | filter_error),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = {sizeof(code) / sizeof(code[0]), code};

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) ||
	    prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program))
		_exit(NO_FILTER);
}

static void slurp(FILE *f, char *text, size_t size)
{
	size_t n;

	rewind(f);
	n = fread(text, 1, size - 1, f);
	text[n] = '\0';
	fclose(f);
}

static void run_args(char **argv)
{
	FILE *out = tmpfile(), *err = tmpfile();
	int status;
	pid_t pid;

	assert_non_null(out);
	assert_non_null(err);
	pid = fork();
	if (!pid) {
		dup2(fileno(out), 1);
		dup2(fileno(err), 2);
		if (filter_error)
			filter_io_uring();
		execv(argv[0], argv);
		_exit(126);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	slurp(out, r.out, sizeof(r.out));
	slurp(err, r.err, sizeof(r.err));
	cJSON_Delete(r.json);
	r.json = NULL;
	if (!WIFEXITED(status))
		fail_msg("killed by signal %d: %s", WTERMSIG(status), r.err);
	r.status = WEXITSTATUS(status);
}

/* Runs @program with the words of @line. */
static void run(const char *program, const char *line)
{
	char words[512], *argv[ARGS] = {(char *)program}, *save = NULL;
	int n = 1;

	snprintf(words, sizeof(words), "%s", line);
	for (char *w = strtok_r(words, " ", &save); w && n < ARGS - 1;
	     w = strtok_r(NULL, " ", &save))
		argv[n++] = w;
	run_args(argv);
}

static double number(const cJSON *object, const char *name)
{
	const cJSON *item = cJSON_GetObjectItemCaseSensitive(object, name);

	if (!cJSON_IsNumber(item))
		fail_msg("no number '%s' in %s", name, r.out);
	return item->valuedouble;
}

static const char *outcome(void)
{
	const char *text =
		cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(r.json, "outcome"));

	assert_non_null(text);
	return text;
}

static const cJSON *column(const char *name)
{
	const cJSON *c;

	cJSON_ArrayForEach(c, cJSON_GetObjectItemCaseSensitive(r.json, "columns"))
	{
		const cJSON *n = cJSON_GetObjectItemCaseSensitive(c, "name");

		if (cJSON_IsString(n) && !strcmp(n->valuestring, name))
			return c;
	}
	fail_msg("no column '%s' in %s", name, r.out);
	return NULL;
}

/* Runs with --json and checks what must hold of every run. */
static void run_json(const char *program, const char *line)
{
	static const char *const names[] = {"unprotected", "start-only", "hmmu"};

	run(program, line);
	if (r.status != 0 && r.status != 1)
		fail_msg("'%s' exits %d: %s", line, r.status, r.err);
	r.json = cJSON_Parse(r.out);
	if (!r.json)
		fail_msg("'%s' printed no JSON: %s%s", line, r.out, r.err);
	number(r.json, "seed");
	for (int i = 0; i < 3; i++) {
		const cJSON *c = column(names[i]);

		assert_true(number(c, "seconds") >= 0);
		assert_true(number(c, "accesses") >= 0);
		assert_true(number(c, "invalidations") >= 0);
		assert_true(number(c, "stale") >= 0);
	}
	/* Exit status and outcome say the same; a failure says how to replay it. */
	assert_int_equal(r.status, strcmp(outcome(), "passed") ? 1 : 0);
	if (r.status)
		assert_non_null(strstr(r.err, "hmmu torture --seed "));
}

/* More and more time until it passes. */
static void run_until_passed(const char *line)
{
	char full[400];

	for (double seconds = 0.25; seconds <= LONGEST; seconds *= 2) {
		snprintf(full, sizeof(full), "torture --json --seconds %g %s", seconds, line);
		run_json(hmmu, full);
		if (number(column("hmmu"), "stale") != 0)
			fail_msg("'%s': %s", full, r.err);
		if (!r.status) {
			assert_true(number(column("hmmu"), "seconds") > 0);
			assert_true(number(column("hmmu"), "invalidations") > 0);
			return;
		}
		if (strcmp(outcome(), "proved nothing"))
			fail_msg("'%s': %s", full, r.err);
	}
	fail_msg("'%s' proves nothing, however long", line);
}

/* ---- options */

static void bad_options(void **state)
{
	static const struct {
		const char *line, *names;
	} bad[] = {
		{"", "no command"},
		{"frob", "frob"},
		{"--frob", "--frob"},
		{"torture --frob", "--frob"},
		{"torture frob", "frob"},
		{"torture --seconds", "--seconds"},
		{"torture --seconds 0", "--seconds"},
		{"torture --seconds -1", "--seconds"},
		{"torture --seconds nan", "--seconds"},
		{"torture --seconds 1x", "--seconds"},
		{"torture --threads 0", "--threads"},
		{"torture --threads 65", "--threads"},
		{"torture --threads two", "--threads"},
		{"torture --seed -1", "--seed"},
		{"torture --seed 9007199254740992", "--seed"},
		{"torture --source ummunotify", "ummunotify"},
		{"torture --ops munmap,frob", "frob"},
		{"torture --ops munmap,", "--ops"},
		{"torture --memory disk", "disk"},
		{"torture --disturb rain", "rain"},
		{"torture -x", "-x"},
	};

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		run(hmmu, bad[i].line);
		if (r.status != 2 || r.out[0] || !strstr(r.err, bad[i].names) ||
		    strchr(r.err, '\n') != r.err + strlen(r.err) - 1)
			fail_msg("'%s' exits %d, says '%s' and '%s'", bad[i].line, r.status,
				 r.out, r.err);
	}
}

static void help_and_version(void **state)
{
	run(hmmu, "--help");
	assert_int_equal(r.status, 0);
	assert_non_null(strstr(r.out, "torture"));
	run(hmmu, "--version");
	assert_int_equal(r.status, 0);
	assert_int_equal(strncmp(r.out, "hmmu ", 5), 0);
	run(hmmu, "torture --help=all");
	assert_int_equal(r.status, 0);
	assert_non_null(strstr(r.out, "--source"));
	assert_non_null(strstr(r.out, "mremap-fixed"));
	assert_string_equal(r.err, "");
}

static void no_io_uring(void **state)
{
	for (int i = 0; i < 2; i++) {
		filter_error = i ? EPERM : ENOSYS;
		run(hmmu, "torture --source explicit --seconds 1");
		filter_error = 0;
		if (r.status == NO_FILTER)
			skip();
		assert_int_equal(r.status, SKIP);
		assert_non_null(strstr(r.err, "io_uring"));
		assert_non_null(strstr(r.err, "container"));
	}
}

/* ---- runs */

static void one_cell(const char *op, const char *memory)
{
	const cJSON *cell, *shows;
	char line[200], full[300];

	snprintf(line, sizeof(line), "--source explicit --ops %s --memory %s", op, memory);
	snprintf(full, sizeof(full), "torture --json --seconds 0.1 %s", line);
	run_json(hmmu, full);
	assert_true(number(column("hmmu"), "stale") == 0);
	cell = cJSON_GetArrayItem(cJSON_GetObjectItemCaseSensitive(r.json, "cells"), 0);
	shows = cJSON_GetObjectItemCaseSensitive(cell, "shows");
	assert_true(cJSON_IsBool(shows));
	/* Under AddressSanitizer free() does not give an address back. */
	if (cJSON_GetObjectItemCaseSensitive(cell, "stopped"))
		return;
	if (cJSON_IsTrue(shows)) {
		run_until_passed(line);
		return;
	}
	/* What cannot show anything says so, with the reason. */
	assert_string_equal(outcome(), "proved nothing");
	assert_non_null(cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(cell, "reason")));
	assert_true(number(column("unprotected"), "stale") == 0);
}

static void every_cell(void **state)
{
	static const char *const ops[] = {"munmap",   "map-fixed", "mremap", "mremap-fixed",
					  "dontneed", "madv-free", "remove", "brk",
					  "fork",     "free"};
	static const char *const memories[] = {"anon", "shared", "memfd", "file"};

	for (int o = 0; o < 10; o++)
		for (int m = 0; m < 4; m++)
			one_cell(ops[o], memories[m]);
}

static void all_cells_explicit(void **state)
{
	run_until_passed("--source explicit");
}

/* Where a source does not work (the command says so) there is nothing to test. */
static bool works(const char *source)
{
	char line[200];

	snprintf(line, sizeof(line),
		 "torture --source %s --seconds 0.1 --ops map-fixed --memory anon", source);
	run(hmmu, line);
	return !strstr(r.err, "does not work here");
}

/* A sanitizer's free() makes system calls of its own, which hooks do not see. */
#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
#define HOOKED_OPS " --ops munmap,map-fixed,mremap,mremap-fixed,dontneed,remove,brk,fork"
#else
#define HOOKED_OPS ""
#endif

static void all_cells_hooks(void **state)
{
	if (!works("hooks"))
		skip();
	run_until_passed("--source hooks" HOOKED_OPS);
	run_until_passed("--source best --threads 4" HOOKED_OPS);
}

/* Half of the changes are raw system calls, which hooks do not see. */
static void all_cells_raw_too(void **state)
{
	static const char *const sources[] = {"userfaultfd", "both", "seccomp"};
	char line[200];

	for (int i = 0; i < 3; i++) {
		if (!works(sources[i]))
			continue;
		snprintf(line, sizeof(line), "--source %s --callers mixed" HOOKED_OPS,
			 sources[i]);
		run_until_passed(line);
		assert_true(cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(r.json, "raw")));
	}
}

/* What hooks do not claim they do not do: with raw calls they have to be seen stale. */
static void raw_is_stale_under_hooks(void **state)
{
	if (!works("hooks"))
		skip();
	for (double seconds = 0.5; seconds <= LONGEST; seconds *= 2) {
		char line[200];

		snprintf(line, sizeof(line),
			 "torture --json --source hooks --callers raw --seconds %g "
			 "--ops map-fixed --memory anon",
			 seconds);
		run_json(hmmu, line);
		if (!strcmp(outcome(), "stale"))
			return;
	}
	fail_msg("raw changes past the hooks never showed");
}

static void table_and_replay(void **state)
{
	char first[64];

	run(hmmu, "torture --source explicit --seconds 0.2 --seed 42 --ops fork");
	assert_int_equal(r.status, 1);
	assert_non_null(strstr(r.out, "seed 42"));
	assert_non_null(strstr(r.out, "unprotected"));
	assert_non_null(strstr(r.out, "n/a (f)"));
	assert_non_null(strstr(r.err, "proved nothing"));
	assert_non_null(strstr(r.err, "--seed 42"));
	assert_non_null(strstr(r.err, "--ops fork"));
	assert_null(strstr(r.err, "--memory"));
	assert_null(strstr(r.err, "--disturb"));
	run(hmmu, "torture --source explicit --seconds 0.3 --ops fork --disturb signals,forks "
		  "--json");
	assert_null(strstr(r.out, "\"signals\":\t0,"));
	assert_null(strstr(r.out, "\"forks\":\t0,"));
	assert_non_null(strstr(r.err, "--disturb signals,forks"));
	/* A seed that was not given is chosen and printed. */
	run(hmmu, "torture --source explicit --seconds 0.1 --ops fork");
	assert_int_equal(sscanf(r.out, "seed %63[0-9]", first), 1);
}

/* ---- the library broken on purpose: the hmmu column must show it */

static void one_plant(const char *bug)
{
	char line[300];

	for (double seconds = 0.5; seconds <= LONGEST; seconds *= 2) {
		snprintf(line, sizeof(line),
			 "%s --json --source explicit --seconds %g "
			 "--ops map-fixed,dontneed,mremap-fixed --memory anon,file",
			 bug, seconds);
		run_json(planted, line);
		if (!strcmp(outcome(), "stale")) {
			assert_true(number(column("hmmu"), "stale") > 0);
			assert_non_null(strstr(r.err, "FAILED"));
			return;
		}
	}
	fail_msg("the bug %s survived", bug);
}

static void plants(void **state)
{
	one_plant("NO_WAIT");
	one_plant("START_ONLY");
	one_plant("NO_RETRY");
	one_plant("CALLBACK_SKIPPED");
}

/* ---- --cache */

static const cJSON *cache_counts(void)
{
	const cJSON *counts = cJSON_GetObjectItemCaseSensitive(r.json, "cache");

	assert_true(cJSON_IsObject(counts));
	return counts;
}

static void caches_explicit(void **state)
{
	run_until_passed("--cache --source explicit");
	assert_true(number(cache_counts(), "put_elsewhere") > 0);
	assert_true(number(cache_counts(), "granted") == 0);
	assert_true(number(cache_counts(), "children_stale") == 0);
}

static void caches_hooks(void **state)
{
	if (!works("hooks"))
		skip();
	run_until_passed("--cache --source hooks" HOOKED_OPS);
	assert_true(number(cache_counts(), "granted") == 0);
	/* One getter: what it leaves for another is its own. */
	run_until_passed("--cache --source hooks --threads 1 --memory anon" HOOKED_OPS);
}

static void caches_raw_too(void **state)
{
	static const char *const sources[] = {"userfaultfd", "both", "seccomp"};
	char line[200];

	for (int i = 0; i < 3; i++) {
		if (!works(sources[i]))
			continue;
		snprintf(line, sizeof(line), "--cache --source %s --callers mixed" HOOKED_OPS,
			 sources[i]);
		run_until_passed(line);
	}
}

/* Evictions, unions, children, read-only pages: each comes about, given time. */
static void caches_mix(void **state)
{
	for (double seconds = 0.5; seconds <= LONGEST; seconds *= 2) {
		const cJSON *limited, *plain;
		char line[200];

		snprintf(line, sizeof(line),
			 "torture --json --cache --source explicit --seconds %g "
			 "--ops munmap,map-fixed,dontneed --memory anon",
			 seconds);
		run_json(hmmu, line);
		assert_true(number(column("hmmu"), "stale") == 0);
		plain = cJSON_GetArrayItem(
			cJSON_GetObjectItemCaseSensitive(cache_counts(), "library"), 0);
		limited = cJSON_GetArrayItem(
			cJSON_GetObjectItemCaseSensitive(cache_counts(), "library"), 1);
		if (number(limited, "evicted") > 0 && number(plain, "merged") > 0 &&
		    number(plain, "invalidated") > 0 && number(limited, "once") > 0 &&
		    number(cache_counts(), "read_only") > 0 &&
		    number(cache_counts(), "children") > 0 && !r.status)
			return;
	}
	fail_msg("something of the mix never came about: %s", r.out);
}

static void one_cache_plant(const char *bug)
{
	char line[300];

	for (double seconds = 0.5; seconds <= LONGEST; seconds *= 2) {
		snprintf(line, sizeof(line),
			 "%s --json --cache --source explicit --seconds %g "
			 "--ops map-fixed,dontneed,mremap-fixed --memory anon,file",
			 bug, seconds);
		run_json(planted, line);
		if (!strcmp(outcome(), "stale")) {
			assert_non_null(strstr(r.err, "FAILED"));
			return;
		}
	}
	fail_msg("the bug %s survived", bug);
}

static void cache_plants(void **state)
{
	one_cache_plant("RC_NO_RETRY");
	one_cache_plant("RC_NO_RECHECK");
	one_cache_plant("NO_WAIT");
	one_cache_plant("CALLBACK_SKIPPED");
}

static int run_part(const char *part)
{
	const struct CMUnitTest options[] = {
		cmocka_unit_test(bad_options),
		cmocka_unit_test(help_and_version),
		cmocka_unit_test(no_io_uring),
	};
	const struct CMUnitTest cells[] = {
		cmocka_unit_test(every_cell),
		cmocka_unit_test(table_and_replay),
	};
	const struct CMUnitTest runs[] = {
		cmocka_unit_test(all_cells_explicit),
		cmocka_unit_test(all_cells_hooks),
		cmocka_unit_test(all_cells_raw_too),
		cmocka_unit_test(raw_is_stale_under_hooks),
	};
	const struct CMUnitTest bugs[] = {cmocka_unit_test(plants)};
	const struct CMUnitTest caches[] = {
		cmocka_unit_test(caches_explicit),
		cmocka_unit_test(caches_hooks),
		cmocka_unit_test(caches_raw_too),
		cmocka_unit_test(caches_mix),
	};
	const struct CMUnitTest cache_bugs[] = {cmocka_unit_test(cache_plants)};

	if (!strcmp(part, "options"))
		return cmocka_run_group_tests_name("torture options", options, NULL, NULL);
	if (uring_refused())
		return SKIP;
	if (!strcmp(part, "cells"))
		return cmocka_run_group_tests_name("torture cells", cells, NULL, NULL);
	if (!strcmp(part, "runs"))
		return cmocka_run_group_tests_name("torture runs", runs, NULL, NULL);
	if (!strcmp(part, "caches"))
		return cmocka_run_group_tests_name("torture caches", caches, NULL, NULL);
	if (!strcmp(part, "cache-plants"))
		return cmocka_run_group_tests_name("torture cache plants", cache_bugs, NULL,
						   NULL);
	return cmocka_run_group_tests_name("torture plants", bugs, NULL, NULL);
}

int main(int argc, char **argv)
{
	if (argc < 3)
		return 2;
	hmmu = argv[2];
	planted = argc > 3 ? argv[3] : NULL;
	return run_part(argv[1]);
}
