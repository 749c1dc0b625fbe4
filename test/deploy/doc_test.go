// Package deploy tests what stands in the folder deploy, with the tools that will read it.
package deploy
