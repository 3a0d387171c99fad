// SPDX-License-Identifier: MIT
/* machine.c - see real.h. */
#include <fcntl.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "hmmu_oracle.h"
#include "real.h"

#define MOST (1UL << 18)

static bool have_orders;
static int oracle = -1, pagemap = -1;
static unsigned long theirs[MOST], frames[MOST];
static sigjmp_buf back;

bool machine_is_own(void)
{
	char line[4096] = "";
	FILE *f = fopen("/proc/cmdline", "r");
	bool own = f && fgets(line, sizeof(line), f) && strstr(line, "hmmu.machine=own") &&
		   geteuid() == 0;

	if (f)
		fclose(f);
	if (!own)
		puts("skipped: it changes the machine it runs on, so it runs in "
		     "scripts/oracle's "
		     "only");
	return own;
}

static void bus_error(int sig)
{
	siglongjmp(back, sig);
}

static int own_oracle(void)
{
	int fd = open("/dev/" ORACLE_DEVICE, O_RDWR | O_CLOEXEC);

	if (fd < 0) {
		print_message("not compared with Linux's own: no /dev/%s\n", ORACLE_DEVICE);
		return -1;
	}
	must(ioctl(fd, ORACLE_BIND) == 0);
	return fd;
}

int real_setup(void **state)
{
	cpu_set_t one;

	/* What a processor keeps back (pages not on a list yet) is this one's. */
	CPU_ZERO(&one);
	CPU_SET(0, &one);
	must(sched_setaffinity(0, sizeof(one), &one) == 0);
	must(world_open(HMMU_SOURCE_EXPLICIT) == 0);
	api_guard(150); /* the machine may be emulated */
	pagemap = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	must(pagemap >= 0);
	have_orders = have_scan();
	oracle = own_oracle();
	return 0;
}

int real_teardown(void **state)
{
	world_close();
	if (oracle >= 0)
		close(oracle);
	close(pagemap);
	return 0;
}

long setting(const char *path)
{
	FILE *f = fopen(path, "r");
	long value = -1;

	if (!f)
		return -1;
	must(fscanf(f, "%ld", &value) == 1);
	fclose(f);
	return value;
}

void set(const char *path, const char *value)
{
	FILE *f = fopen(path, "w");

	must(f && fprintf(f, "%s\n", value) > 0 && fclose(f) == 0);
}

static uint64_t entry(const void *at)
{
	uint64_t e = 0;

	must(pread(pagemap, &e, 8, (off_t)((unsigned long)at / PAGE * 8)) == 8);
	return e;
}

bool is_present(const void *at)
{
	return entry(at) >> 63;
}

bool is_swapped(const void *at)
{
	return entry(at) >> 62 & 1;
}

unsigned long frame_of(const void *at)
{
	return entry(at) & ((1ULL << 55) - 1);
}

/* ---- Linux's own -------------------------------------------------------------------- */

static void same_page(const void *at, unsigned long pfn, unsigned long frame,
		      unsigned long linux_pfn)
{
	const unsigned long facts = HMM_PFN_VALID | HMM_PFN_ERROR;
	unsigned int order = hmm_pfn_to_map_order(linux_pfn);

	if ((pfn & facts) != (linux_pfn & facts) || (frame & facts) != (linux_pfn & facts))
		fail_msg("%p: Linux %lx, hmmu %lx, with frames %lx", at, linux_pfn, pfn, frame);
	if (!(pfn & VALID))
		return;
	if ((linux_pfn & HMM_PFN_WRITE) && !(pfn & HMM_PFN_WRITE))
		fail_msg("%p: Linux %lx may be written, hmmu %lx", at, linux_pfn, pfn);
	if ((frame & HMM_PFN_NUMBER) != (linux_pfn & HMM_PFN_NUMBER))
		fail_msg("%p: Linux %lx is another frame than hmmu %lx", at, linux_pfn, frame);
	/* Without PAGEMAP_SCAN no order is known. */
	if (hmm_pfn_to_map_order(pfn) != (have_orders ? order : 0))
		fail_msg("%p: order of Linux %lx, of hmmu %lx", at, linux_pfn, pfn);
}

int ask(const void *at, size_t pages, unsigned long *pfns, unsigned long want)
{
	struct oracle_hmm arg = {
		.start = (unsigned long)at,
		.pages = pages,
		.flags = want,
		.pfns = (unsigned long)theirs,
	};
	int ret, other;

	must(pages <= MOST);
	ret = fault(at, pages, pfns, want, 0);
	other = fault_flags(at, pages, frames, want, 0, HMM_RANGE_PHYSICAL);
	assert_int_equal(ret, other);
	if (oracle < 0)
		return ret;
	other = ioctl(oracle, ORACLE_HMM, &arg) ? -errno : 0;
	if (ret != other)
		fail_msg("%p, %zu pages, wanted %lx: Linux %d, hmmu %d", at, pages, want, other,
			 ret);
	for (size_t i = 0; !ret && i < pages; i++)
		same_page((const char *)at + i * PAGE, pfns[i], frames[i], theirs[i]);
	return ret;
}

unsigned long ask_one(const void *at)
{
	unsigned long pfn = ~0UL;

	must(ask(at, 1, &pfn, 0) == 0);
	return pfn;
}

/* ---- the truth ------------------------------------------------------------------------ */

/* (cmocka has a handler of its own while a test runs.) */
static void expect_bus_error(bool expected)
{
	static struct sigaction before;
	const struct sigaction act = {.sa_handler = bus_error};

	must(expected ? sigaction(SIGBUS, &act, &before) == 0
		      : sigaction(SIGBUS, &before, NULL) == 0);
}

bool readable(const void *at)
{
	volatile bool got = false;

	expect_bus_error(true);
	if (!sigsetjmp(back, 1)) {
		(void)look_into(at);
		got = true;
	}
	expect_bus_error(false);
	return got;
}

/* Some kernels tell the process at once, some when it touches the page. */
int fail_memory(void *at, size_t length)
{
	volatile int ret = 0;

	expect_bus_error(true);
	if (!sigsetjmp(back, 1) && madvise(at, length, MADV_HWPOISON))
		ret = -errno;
	expect_bus_error(false);
	return ret;
}

bool written_in_place(unsigned char *at)
{
	unsigned long before = frame_of(at);

	must(before);
	*(volatile unsigned char *)at += 1;
	return frame_of(at) == before;
}

/* Inline, all of it: a call by a table reads the table's page. */
static __attribute__((noinline)) pid_t fork_idle(void)
{
	long ret;

	__asm__ volatile("syscall\n\t"
			 "test %%rax, %%rax\n\t"
			 "jnz 2f\n"
			 "1:\tmov %[pause], %%eax\n\t"
			 "syscall\n\t"
			 "jmp 1b\n"
			 "2:"
			 : "=a"(ret)
			 : "0"(SYS_fork), [pause] "i"(SYS_pause)
			 : "rcx", "r11", "memory");
	return (pid_t)ret;
}

void idle_start(struct idle *idle)
{
	idle->pid = fork_idle();
	must(idle->pid > 0);
}

void idle_end(struct idle *idle)
{
	int status;

	must(kill(idle->pid, SIGKILL) == 0);
	must(waitpid(idle->pid, &status, 0) == idle->pid);
}
