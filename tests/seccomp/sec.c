// SPDX-License-Identifier: MIT
#include "sec.h"

#include <string.h>
#include <sys/uio.h>

void sec_open(void)
{
	int err = hmmu_source_seccomp.open();

	if (err)
		fprintf(stderr, "open: %d: %s\n", err, hmmu_seccomp_why());
	CHECK(!err);
}

/* The neighbours stay: a hole between them is too small for the stack of the supervisor's
 * next thread, and a case that looks whether its page has gone must find a hole. */
char *sec_pages(size_t n, char fill)
{
	char *p = mmap(NULL, (n + 2) * PAGE, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	CHECK(p != MAP_FAILED);
	p += PAGE;
	memset(p, fill, n * PAGE);
	return p;
}

bool sec_mapped(const void *p)
{
	unsigned char there;

	return raw(SYS_mincore, p, PAGE, &there) == 0;
}

int sec_peek(const void *p)
{
	unsigned char c;
	struct iovec here = {&c, 1}, there = {(void *)p, 1};

	return raw(SYS_process_vm_readv, getpid(), &here, 1, &there, 1, 0) == 1 ? c : -1;
}

void sec_join(pid_t pid)
{
	int status = -1;

	CHECK(waitpid(pid, &status, 0) == pid);
	if (status)
		fprintf(stderr, "child: status %#x\n", status);
	CHECK(status == 0);
}

void sec_wait(uint32_t *word, uint32_t at_least)
{
	uint32_t now;

	while ((now = hmmu_load_acquire(word)) < at_least)
		hmmu_futex_wait(word, now, NULL);
}

void sec_post(uint32_t *word)
{
	hmmu_add_seqcst(word, 1);
	hmmu_futex_wake(word, 1 << 20);
}

#ifdef HMMU_PLANT
__attribute__((constructor)) static void plant(void)
{
	const char *which = getenv("HMMU_SECCOMP_PLANT");

	hmmu_seccomp_planted = which ? atoi(which) : 0;
}
#endif

int sec_main(int argc, char **argv, const struct sec_case *cases, size_t n)
{
	/* A deadlock fails at once instead of by meson's clock; no case takes a tenth. */
	alarm(SEC_SECONDS);
	for (size_t i = 0; i < n; i++) {
		if (argc > 1 && strcmp(argv[1], cases[i].name) == 0) {
			cases[i].run();
			return 0;
		}
	}
	fprintf(stderr, "no such case\n");
	return 2;
}
