// SPDX-License-Identifier: MIT
/*
 * test_doctor.c - hmmu doctor as a user runs it.
 * usage: test_doctor PART HMMU EXPECTED PLANTED [SOURCE]
 *
 *	expected	its JSON has every cell, and each is what expected.txt says
 *	options		bad ones are told
 *	plain		no escape codes where there is no terminal, or NO_COLOR; 80 columns
 *	filter		a seccomp filter that refuses something is named
 *	nobody		it runs without privilege
 *	plants		it finds a library that is wrong
 */
#include <cjson/cJSON.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "expected.h"
#include "run.h"

static const char *hmmu, *planted;
static struct run r;

static const cJSON *get(const cJSON *object, const char *name)
{
	const cJSON *item = cJSON_GetObjectItemCaseSensitive(object, name);

	if (!item) {
		printf("no '%s' in %.200s\n", name, r.out);
		exit(1);
	}
	return item;
}

static const char *text(const cJSON *object, const char *name)
{
	const char *s = cJSON_GetStringValue(get(object, name));

	return s ? s : "?";
}

static cJSON *run_json(const char *line, prepare_fn *prepare)
{
	cJSON *json;

	run(&r, hmmu, line, prepare);
	if (r.status == 126) {
		printf("%s cannot be run here: %s", hmmu, r.err);
		exit(SKIP);
	}
	check(r.status == 0 || r.status == 1, "'%s': status %d, signal %d: %s", line, r.status,
	      r.signal, r.err);
	json = cJSON_Parse(r.out);
	if (!json) {
		printf("'%s' printed no JSON: %s%s\n", line, r.out, r.err);
		exit(1);
	}
	return json;
}

/* The entry of @list that has the name. */
static const cJSON *named(const cJSON *list, const char *name)
{
	const cJSON *item;

	cJSON_ArrayForEach(item, list)
	{
		if (!strcmp(text(item, "name"), name))
			return item;
	}
	printf("no '%s' in %.400s\n", name, r.out);
	exit(1);
}

/* ---- expected ------------------------------------------------------------ */

static char symbol(const cJSON *cell)
{
	const char *live = text(cell, "live");

	if (!strcmp(live, "bracketed"))
		return 'B';
	if (!strcmp(live, "by return"))
		return 'r';
	if (!strcmp(live, "by return, reuse open"))
		return 'o';
	if (!strcmp(live, "unwatched"))
		return cJSON_IsTrue(get(cell, "says_so")) ? 'd' : '.';
	if (!strcmp(live, "not applicable"))
		return '-';
	return !strcmp(live, "refused") ? '?' : '!';
}

static void compare(const char *source, const cJSON *cell)
{
	const char *op = text(cell, "operation"), *caller = text(cell, "caller");
	const char *memory = text(cell, "memory");
	char want = expected(source, op, caller, memory), is = symbol(cell);
	char *whole = NULL;

	/* Refused by the kernel: it is a path all the same. */
	if (is == want || (is == '?' && want != '-'))
		is = want;
	else
		whole = cJSON_PrintUnformatted(cell);
	check(is == want, "%s: %s by %s on %s: expected %c, is %c: %s", source, op, caller,
	      memory, want, is, whole);
	cJSON_free(whole);
	check(!cJSON_IsTrue(get(cell, "weaker")), "%s: %s by %s on %s: claimed %s, is %s",
	      source, op, caller, memory, text(cell, "claim"), text(cell, "live"));
}

static int test_expected(const char *source)
{
	char line[80];
	const cJSON *s, *cell;
	int n = 0, want = !strcmp(source, "explicit") ? 15 * 5 : 15 * 6 * 5;
	cJSON *json;

	snprintf(line, sizeof(line), "doctor --json --source %s", source);
	json = run_json(line, NULL);
	s = named(get(json, "sources"), source);
	if (!cJSON_IsTrue(get(s, "available"))) {
		printf("%s is not available here: %s\n", source, text(s, "why"));
		check(r.status == SKIP, "status %d of a source that was named and is not there",
		      r.status);
		cJSON_Delete(json);
		return wrong ? 1 : SKIP;
	}
	cJSON_ArrayForEach(cell, get(s, "cells"))
	{
		compare(source, cell);
		n++;
	}
	check(n == want, "%d cells, not %d", n, want);
	check(r.status == 0, "status %d: %s", r.status, r.err);
	cJSON_Delete(json);
	return wrong ? 1 : 0;
}

/* ---- options --------------------------------------------------------------- */

static int test_options(void)
{
	static const struct {
		const char *line, *says;
	} bad[] = {
		{"doctor --nonsense", "--nonsense"},
		{"doctor -x", "-x"},
		{"doctor --source", "--source"},
		{"doctor --source nonsense", "nonsense"},
		{"doctor --operation nonsense", "nonsense"},
		{"doctor --operation munma", "munma"},
		{"doctor --json=1", "--json=1"},
		{"doctor nonsense", "nonsense"},
	};

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		const char *end;

		run(&r, hmmu, bad[i].line, NULL);
		end = strchr(r.err, '\n');
		check(r.status == 2, "'%s': status %d", bad[i].line, r.status);
		check(!*r.out, "'%s' prints: %s", bad[i].line, r.out);
		check(end && !end[1] && strstr(r.err, bad[i].says), "'%s' says: %s",
		      bad[i].line, r.err);
	}
	run(&r, hmmu, "doctor --help", NULL);
	check(r.status == 0 && strstr(r.out, "usage: hmmu doctor") && !*r.err,
	      "--help: %d: %s%s", r.status, r.out, r.err);
	return wrong ? 1 : 0;
}

/* ---- plain ------------------------------------------------------------------ */

static void no_color(void)
{
	setenv("NO_COLOR", "1", 1);
	dup2(open("/dev/null", O_WRONLY), 2);
}

static void color(void)
{
	unsetenv("NO_COLOR");
	dup2(open("/dev/null", O_WRONLY), 2);
}

static void check_width(const char *what)
{
	const char *line = r.out;

	while (line && *line) {
		size_t length = strcspn(line, "\r\n");

		check(length < 80, "%s: %zu columns: %.*s", what, length, (int)length, line);
		check(!length || line[length - 1] != ' ', "%s: blanks at the end: '%.*s'", what,
		      (int)length, line);
		line += length;
		line += strspn(line, "\r\n");
	}
}

static int test_plain(void)
{
	const char *line = "doctor --operation madvise";

	run(&r, hmmu, line, NULL);
	check(r.status == 0 || r.status == 1, "status %d: %s", r.status, r.err);
	check(!strchr(r.out, '\033') && !*r.err, "escape codes in a file: %s%s", r.out, r.err);
	check(strstr(r.out, "hooks") && strstr(r.out, "madvise"), "what is this? %s", r.out);
	check_width("in a file");
	run_on_terminal(&r, hmmu, line, no_color);
	check(!strchr(r.out, '\033'), "escape codes with NO_COLOR: %s", r.out);
	check_width("on a terminal");
	run_on_terminal(&r, hmmu, line, color);
	check(strchr(r.out, '\033') != NULL, "no colour on a terminal: %s", r.out);
	return wrong ? 1 : 0;
}

/* ---- filter ------------------------------------------------------------------ */

static unsigned int filtered_call;
static int filtered_error;

static void filter(void)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, filtered_call, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (unsigned int)filtered_error),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = {sizeof(code) / sizeof(code[0]), code};

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) ||
	    prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program))
		_exit(126);
}

/* A run under a filter that refuses @call: the fact of that name says so. */
static cJSON *run_filtered(const char *line, long call, int error, const char *name,
			   const char *says)
{
	const cJSON *fact;
	cJSON *json;

	filtered_call = (unsigned int)call;
	filtered_error = error;
	json = run_json(line, filter);
	fact = named(get(json, "machine"), name);
	check(!cJSON_IsTrue(get(fact, "good")), "%s refused, and it is good", name);
	check(strstr(text(fact, "text"), says) != NULL, "%s refused: %s", name,
	      text(fact, "text"));
	return json;
}

static int test_filter(void)
{
	static const int errors[] = {EPERM, ENOSYS};
	cJSON *json;

	for (int i = 0; i < 2; i++) {
		const cJSON *s;

		json = run_filtered("doctor --json --operation shmdt", SYS_userfaultfd,
				    errors[i], "userfaultfd", "seccomp filter");
		check(r.status == 0, "status %d: %s", r.status, r.out);
		s = named(get(json, "sources"), "userfaultfd");
		check(!cJSON_IsTrue(get(s, "available")), "available without its call");
		s = named(get(json, "sources"), "hooks");
		check(cJSON_IsTrue(get(s, "available")), "hooks need no userfaultfd");
		cJSON_Delete(json);
	}
	run(&r, hmmu, "doctor --source userfaultfd --operation shmdt", filter);
	check(r.status == SKIP && strstr(r.out, "not available"), "%d: %s", r.status, r.out);
	cJSON_Delete(run_filtered("doctor --json --source hooks --operation madvise",
				  SYS_io_uring_setup, EPERM, "io_uring_setup",
				  "seccomp filter"));
	check(r.status == 0, "status %d: %s", r.status, r.out);
	cJSON_Delete(run_filtered("doctor --json --source hooks", SYS_ptrace, EPERM, "ptrace",
				  "refused"));
	check(r.status == 0, "without ptrace: status %d: %s", r.status, r.out);
	return wrong ? 1 : 0;
}

/* ---- nobody -------------------------------------------------------------------- */

static void become_nobody(void)
{
	if (geteuid())
		return;
	if (setgroups(0, NULL) || setresgid(65534, 65534, 65534) ||
	    setresuid(65534, 65534, 65534))
		_exit(126);
}

static int test_nobody(void)
{
	cJSON *json = run_json("doctor --json", become_nobody);
	const cJSON *s;

	check(get(json, "broken")->valuedouble == 0, "could not be found out: %s", r.out);
	s = named(get(json, "sources"), "hooks");
	check(cJSON_IsTrue(get(s, "available")), "hooks need no privilege");
	cJSON_Delete(json);
	return wrong ? 1 : 0;
}

/* ---- plants --------------------------------------------------------------------- */

/* On the source that has the bug, if it is here. */
static void test_plant(const char *bug, const char *source, const char *operation)
{
	char line[120], says[40];

	snprintf(line, sizeof(line), "%s --source %s --operation %s", bug, source, operation);
	snprintf(says, sizeof(says), "\n! %s: ", source);
	run(&r, planted, line, NULL);
	if (strstr(r.out, "not available"))
		printf("%s: %s is not available here\n", bug, source);
	else
		check(r.status == 1 && strstr(r.out, says), "%s survives: %d: %s%s", bug,
		      r.status, r.out, r.err);
	if (r.status == 1 && !strstr(r.out, "not available")) {
		snprintf(line, sizeof(line), "NONE --source %s --operation %s", source,
			 operation);
		run(&r, planted, line, NULL);
		check(r.status == 0, "without a bug: %d: %s%s", r.status, r.out, r.err);
	}
}

static int test_plants(void)
{
	static const struct {
		const char *bug, *source, *operation;
	} plants[] = {
		{"START_ONLY", "hooks", "munmap"},
		{"NO_WAIT", "hooks", "madvise"},
		{"CALLBACK_SKIPPED", "hooks", "brk"},
		{"NO_RETRY", "hooks", "fork"},
		{"HOOK_END_EARLY", "hooks", "munmap"},
		{"HOOK_NO_TARGET", "hooks", "mremap"},
		{"UFFD_NO_SOURCE", "userfaultfd", "mremap"},
	};

	for (size_t i = 0; i < sizeof(plants) / sizeof(plants[0]); i++)
		test_plant(plants[i].bug, plants[i].source, plants[i].operation);
	return wrong ? 1 : 0;
}

int main(int argc, char **argv)
{
	const char *part = argv[1];

	setvbuf(stdout, NULL, _IOLBF, 0);
	if (argc < 5 || !expected_load(argv[3]))
		return 2;
	hmmu = argv[2];
	planted = argv[4];
	if (!strcmp(part, "expected") && argc == 6)
		return test_expected(argv[5]);
	if (!strcmp(part, "options"))
		return test_options();
	if (!strcmp(part, "plain"))
		return test_plain();
	if (!strcmp(part, "filter"))
		return test_filter();
	if (!strcmp(part, "nobody"))
		return test_nobody();
	if (!strcmp(part, "plants"))
		return test_plants();
	return 2;
}
