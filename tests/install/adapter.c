/* SPDX-License-Identifier: MIT */
/* adapter.c - compiled with HEADER and FUNCTION of an adapter: both are where they are said to
 * be. */
#include HEADER

int main(void)
{
	void (*volatile there)(void) = (void (*)(void))FUNCTION;

	return !there;
}
